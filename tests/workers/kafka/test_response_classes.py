"""Answers of Kafka are read though two threads made the class of one version at once, and one of the two is gone."""

from __future__ import annotations

import gc
from types import SimpleNamespace

from kafka.protocol.api_header import ResponseClassRegistry
from kafka.protocol.metadata import ApiVersionsResponse

from neardup.workers.kafka.clients import _keep_response_classes


def test_a_class_that_another_thread_made_too_is_not_missed() -> None:
    _keep_response_classes()
    kept = ApiVersionsResponse[3]
    del ApiVersionsResponse._VERSIONS[3]
    ApiVersionsResponse[3]  # made once more, while the first is kept
    ApiVersionsResponse._VERSIONS[3] = kept
    gc.collect()
    answer = SimpleNamespace(request_api_key=ApiVersionsResponse.API_KEY, request_api_version=3)
    assert ResponseClassRegistry.get_response_class(answer) is kept
