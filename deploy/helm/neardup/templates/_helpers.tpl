{{- define "neardup.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name }}{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "neardup.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "neardup.labels" -}}
{{ include "neardup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: neardup
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* The ports of /healthz, /readyz and /metrics, as the commands have them. */}}
{{- define "neardup.ports" -}}
{embed: 9401, match: 9402, flag: 9403, api: 9404, webhook: 9405, prove: 9406}
{{- end }}

{{/* What names in Kafka begin with, as Settings.topic_root. */}}
{{- define "neardup.topicRoot" -}}
{{ .Values.kafka.topicPrefix }}{{ with .Values.tenant }}.{{ . }}{{ end }}
{{- end }}

{{- define "neardup.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "neardup.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "neardup.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "neardup.blobsClaim" -}}
{{ .Values.blobs.existingClaim | default (printf "%s-blobs" (include "neardup.fullname" .)) }}
{{- end }}

{{/* Which secret settings a worker is given, of those that the Secret has. */}}
{{- define "neardup.secretKeys" -}}
{{- $of := dict
  "kafka" (list "NEARDUP_KAFKA_SASL_PASSWORD" "NEARDUP_KAFKA_KEY_PASSWORD")
  "match" (list "NEARDUP_MILVUS_TOKEN")
  "flag" (list "NEARDUP_REDIS")
  "api" (list "NEARDUP_REDIS" "NEARDUP_API_TOKENS" "NEARDUP_API_SESSION_SECRET" "NEARDUP_MILVUS_TOKEN")
  "webhook" (list "NEARDUP_WEBHOOK_URL" "NEARDUP_WEBHOOK_SECRETS") -}}
{{- $has := .root.Values.existingSecret.keys -}}
{{- $found := list -}}
{{- range concat (get $of "kafka") (get $of .worker | default list) -}}
{{- if has . $has }}{{ $found = append $found . }}{{ end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end }}

{{/* The variables of a container. root; worker: its kind; own: its values. */}}
{{- define "neardup.env" -}}
{{- $v := .root.Values -}}
{{- $name := include "neardup.fullname" .root -}}
{{- $blobs := $v.blobs.url | default "/var/lib/neardup-blobs" -}}
{{- $env := dict
  "NEARDUP_KAFKA" $v.kafka.addresses
  "NEARDUP_KAFKA_SECURITY" $v.kafka.security
  "NEARDUP_TOPIC_PREFIX" $v.kafka.topicPrefix
  "NEARDUP_MODEL" $v.model
  "NEARDUP_STATE_FOLDER" "/var/lib/neardup/state"
  "NEARDUP_HEALTH_HOST" "0.0.0.0"
  "OPENBLAS_NUM_THREADS" "1"
  "OMP_NUM_THREADS" "1"
  "OMP_WAIT_POLICY" "PASSIVE" -}}
{{- if include "neardup.usesBlobs" . }}{{ $_ := set $env "NEARDUP_BLOBS" $blobs }}{{ end -}}
{{- with $v.tenant }}{{ $_ := set $env "NEARDUP_TENANT" . }}{{ end -}}
{{- if not $v.prove.enabled }}{{ $_ := set $env "NEARDUP_PROVE" "false" }}{{ end -}}
{{- with $v.kafka.saslMechanism }}{{ $_ := set $env "NEARDUP_KAFKA_SASL_MECHANISM" . }}{{ end -}}
{{- with $v.kafka.saslUsername }}{{ $_ := set $env "NEARDUP_KAFKA_SASL_USERNAME" . }}{{ end -}}
{{- if $v.kafka.tls.existingSecret -}}
{{- $_ := set $env "NEARDUP_KAFKA_CA_FILE" "/etc/neardup/kafka/ca.crt" -}}
{{- if $v.kafka.tls.clientCertificate -}}
{{- $_ := set $env "NEARDUP_KAFKA_CERTIFICATE_FILE" "/etc/neardup/kafka/tls.crt" -}}
{{- $_ := set $env "NEARDUP_KAFKA_KEY_FILE" "/etc/neardup/kafka/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if has .worker (list "flag" "api") -}}
{{- $_ := set $env "NEARDUP_REDIS" $v.redis.url -}}
{{- if $v.redis.tls.existingSecret }}{{ $_ := set $env "NEARDUP_REDIS_CA_FILE" "/etc/neardup/redis/ca.crt" }}{{ end -}}
{{- end -}}
{{- if and $v.milvus.uri (has .worker (list "match" "api")) -}}
{{- $_ := set $env "NEARDUP_INDEX" "milvus" -}}
{{- $_ := set $env "NEARDUP_MILVUS" $v.milvus.uri -}}
{{- end -}}
{{- if eq .worker "topics" -}}
{{- $_ := set $env "NEARDUP_MEDIA_PARTITIONS" (toString $v.kafka.mediaPartitions) -}}
{{- $_ := set $env "NEARDUP_MEDIA_RETENTION_DAYS" (toString $v.kafka.mediaRetentionDays) -}}
{{- $_ := set $env "NEARDUP_REPLICATION_FACTOR" (toString $v.kafka.replicationFactor) -}}
{{- else -}}
{{- /* Workers check that topics are as wanted. */ -}}
{{- $_ := set $env "NEARDUP_REPLICATION_FACTOR" (toString $v.kafka.replicationFactor) -}}
{{- $_ := set $env "NEARDUP_MEDIA_RETENTION_DAYS" (toString $v.kafka.mediaRetentionDays) -}}
{{- end -}}
{{- if eq .worker "api" -}}
{{- $ports := include "neardup.ports" .root | fromYaml -}}
{{- $seen := list -}}
{{- range $kind := list "embed" "match" "flag" "prove" "webhook" -}}
{{- if (get $v $kind).enabled }}{{ $seen = append $seen (printf "%s=%s-%s:%v" $kind $name $kind (get $ports $kind)) }}{{ end -}}
{{- end -}}
{{- $seen = append $seen (printf "api=%s-api-metrics:%v" $name (get $ports "api")) -}}
{{- $_ := set $env "NEARDUP_API_WORKERS" (join "," $seen) -}}
{{- $_ := set $env "NEARDUP_API_HOST" "0.0.0.0" -}}
{{- $_ := set $env "NEARDUP_API_PORT" "8630" -}}
{{- if $v.api.tokensSecret }}{{ $_ := set $env "NEARDUP_API_TOKENS_FILE" "/etc/neardup/tokens/tokens" }}{{ end -}}
{{- end -}}
{{- if and (eq .worker "prove") (not (hasKey .own.settings "NEARDUP_THREADS")) }}{{ $_ := set $env "NEARDUP_THREADS" "" }}{{ end -}}
{{- range $key, $value := merge (dict) .own.settings $v.settings -}}
{{- $_ := set $env $key (toString $value) -}}
{{- end -}}
{{- $secrets := include "neardup.secretKeys" . | fromJsonArray -}}
{{- range $secrets }}{{ $_ := unset $env . }}{{ end -}}
{{- $threads := and (has .worker (list "embed" "prove" "api")) (not (get $env "NEARDUP_THREADS")) -}}
{{- if $threads }}{{ $_ := unset $env "NEARDUP_THREADS" }}{{ end -}}
{{- range $key := keys $env | sortAlpha }}
- {name: {{ $key }}, value: {{ get $env $key | quote }}}
{{- end }}
{{- if $threads }}
- name: NEARDUP_THREADS  # as many as cores were asked for, and not as many as the node has
  valueFrom: {resourceFieldRef: {resource: requests.cpu}}
{{- end }}
{{- range $secrets }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $v.existingSecret.name | quote }}, key: {{ . }}}}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whether a worker reads or writes the blob store: "true", or nothing. */}}
{{- define "neardup.usesBlobs" -}}
{{- if has .worker (list "embed" "prove" "flag" "api" "ingest") }}true{{ end -}}
{{- end }}

{{/* What every pod has. */}}
{{- define "neardup.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false  # a Service named neardup-… would set NEARDUP_… variables, which are no settings
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "neardup.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod runs. */}}
{{- define "neardup.placement" -}}
{{- with .own.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if .own.affinity }}
affinity: {{ toYaml .own.affinity | nindent 2 }}
{{- else if has .worker (list "match" "api" "webhook" "flag") }}
affinity:  # a standby on the same node would fall with it
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{ include "neardup.selector" .root | nindent 14 }}
              app.kubernetes.io/component: {{ .worker }}
{{- end }}
{{- end }}

{{- define "neardup.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /var/lib/neardup}
{{- if and (include "neardup.usesBlobs" .) (not .root.Values.blobs.url) }}
- {name: blobs, mountPath: /var/lib/neardup-blobs}
{{- end }}
{{- if .root.Values.kafka.tls.existingSecret }}
- {name: kafka-tls, mountPath: /etc/neardup/kafka, readOnly: true}
{{- end }}
{{- if and .root.Values.redis.tls.existingSecret (has .worker (list "flag" "api")) }}
- {name: redis-tls, mountPath: /etc/neardup/redis, readOnly: true}
{{- end }}
{{- if and (eq .worker "api") .root.Values.api.tokensSecret }}
- {name: tokens, mountPath: /etc/neardup/tokens, readOnly: true}
{{- end }}
{{- if and (eq .worker "ingest") .own.mediaClaim }}
- {name: media, mountPath: /media, readOnly: true}
{{- end }}
{{- with .root.Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Those of a pod; `data` of a StatefulSet comes from its claims. */}}
{{- define "neardup.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: {{ .own.scratch }}}}
{{- if eq .worker "ingest" }}
- {name: data, persistentVolumeClaim: {claimName: {{ include "neardup.fullname" .root }}-ingest}}
{{- else if not .own.state }}
- {name: data, emptyDir: {sizeLimit: {{ .own.scratch }}}}
{{- end }}
{{- if and (include "neardup.usesBlobs" .) (not .root.Values.blobs.url) }}
- {name: blobs, persistentVolumeClaim: {claimName: {{ include "neardup.blobsClaim" .root }}}}
{{- end }}
{{- with .root.Values.kafka.tls.existingSecret }}
- {name: kafka-tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- if and .root.Values.redis.tls.existingSecret (has .worker (list "flag" "api")) }}
- {name: redis-tls, secret: {secretName: {{ .root.Values.redis.tls.existingSecret | quote }}, defaultMode: 0440}}
{{- end }}
{{- if and (eq .worker "api") .root.Values.api.tokensSecret }}
- {name: tokens, secret: {secretName: {{ .root.Values.api.tokensSecret | quote }}, defaultMode: 0440}}
{{- end }}
{{- if and (eq .worker "ingest") .own.mediaClaim }}
- {name: media, persistentVolumeClaim: {claimName: {{ .own.mediaClaim | quote }}, readOnly: true}}
{{- end }}
{{- with .root.Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod template of a worker that stays. root, worker, own. */}}
{{- define "neardup.workerPod" -}}
{{- $port := get (include "neardup.ports" .root | fromYaml) .worker -}}
metadata:
  labels: {{ include "neardup.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .worker }}
    {{- with .root.Values.tenant }}
    neardup/tenant: {{ . | quote }}
    {{- end }}
    {{- with .root.Values.space }}
    neardup/space: {{ . | quote }}
    {{- end }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.podAnnotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "neardup.serviceAccount" .root }}
  {{- include "neardup.podSecurity" .root | nindent 2 }}
  terminationGracePeriodSeconds: 30  # a worker drains within 10
  {{- include "neardup.placement" . | nindent 2 }}
  containers:
    - name: {{ .worker }}
      image: {{ include "neardup.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [worker, {{ .worker }}, --port, {{ $port | quote }}]
      env: {{ include "neardup.env" . | trim | nindent 8 }}
      {{- if and (include "neardup.usesBlobs" .) .root.Values.blobs.existingSecret }}
      envFrom: [{secretRef: {name: {{ .root.Values.blobs.existingSecret | quote }}}}]
      {{- end }}
      ports:
        - {name: metrics, containerPort: {{ $port }}}
        {{- if eq .worker "api" }}
        - {name: http, containerPort: 8630}
        {{- end }}
      startupProbe:  # it listens once the network is loaded
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 120
      livenessProbe:
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources: {{ toYaml .own.resources | nindent 8 }}
      {{- include "neardup.containerSecurity" .root | nindent 6 }}
      volumeMounts: {{ include "neardup.mounts" . | nindent 8 }}
  volumes: {{ include "neardup.volumes" . | nindent 4 }}
{{- end }}
