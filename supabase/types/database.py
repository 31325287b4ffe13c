"""Made by `make types` (supabase gen types) from the database; do not edit."""

from __future__ import annotations

import datetime
import uuid
from typing import (
    Annotated,
    Any,
    List,
    Literal,
    Optional,
    TypedDict,
)
from typing_extensions import NotRequired, TypeAlias

from pydantic import BaseModel, Field, JsonValue

AuthAalLevel: TypeAlias = Literal["aal1", "aal2", "aal3"]

StorageBuckettype: TypeAlias = Literal["STANDARD", "ANALYTICS", "VECTOR"]

class PublicCollectionItems(BaseModel):
    collection_id: uuid.UUID = Field(alias="collection_id")
    created_at: datetime.datetime = Field(alias="created_at")
    owner_id: uuid.UUID = Field(alias="owner_id")
    render_id: uuid.UUID = Field(alias="render_id")

class PublicCollectionItemsInsert(TypedDict):
    collection_id: Annotated[uuid.UUID, Field(alias="collection_id")]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    render_id: Annotated[uuid.UUID, Field(alias="render_id")]

class PublicCollectionItemsUpdate(TypedDict):
    collection_id: NotRequired[Annotated[uuid.UUID, Field(alias="collection_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    render_id: NotRequired[Annotated[uuid.UUID, Field(alias="render_id")]]

class PublicCollections(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    is_default: bool = Field(alias="is_default")
    name: str = Field(alias="name")
    owner_id: uuid.UUID = Field(alias="owner_id")
    rule: Optional[JsonValue] = Field(alias="rule")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicCollectionsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_default: NotRequired[Annotated[bool, Field(alias="is_default")]]
    name: Annotated[str, Field(alias="name")]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    rule: NotRequired[Annotated[Optional[JsonValue], Field(alias="rule")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicCollectionsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_default: NotRequired[Annotated[bool, Field(alias="is_default")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    rule: NotRequired[Annotated[Optional[JsonValue], Field(alias="rule")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicCommunityCollections(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    description: Optional[str] = Field(alias="description")
    id: uuid.UUID = Field(alias="id")
    is_featured: bool = Field(alias="is_featured")
    name: str = Field(alias="name")
    position: int = Field(alias="position")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicCommunityCollectionsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_featured: NotRequired[Annotated[bool, Field(alias="is_featured")]]
    name: Annotated[str, Field(alias="name")]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicCommunityCollectionsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_featured: NotRequired[Annotated[bool, Field(alias="is_featured")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicCommunityItems(BaseModel):
    apply_settings: JsonValue = Field(alias="apply_settings")
    collection_id: uuid.UUID = Field(alias="collection_id")
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    image_path: Optional[str] = Field(alias="image_path")
    image_url: Optional[str] = Field(alias="image_url")
    position: int = Field(alias="position")
    render_id: Optional[uuid.UUID] = Field(alias="render_id")
    thumb_path: Optional[str] = Field(alias="thumb_path")
    title: Optional[str] = Field(alias="title")
    updated_at: datetime.datetime = Field(alias="updated_at")
    variant_idx: Optional[int] = Field(alias="variant_idx")

class PublicCommunityItemsInsert(TypedDict):
    apply_settings: NotRequired[Annotated[JsonValue, Field(alias="apply_settings")]]
    collection_id: Annotated[uuid.UUID, Field(alias="collection_id")]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    image_path: NotRequired[Annotated[Optional[str], Field(alias="image_path")]]
    image_url: NotRequired[Annotated[Optional[str], Field(alias="image_url")]]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    render_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="render_id")]]
    thumb_path: NotRequired[Annotated[Optional[str], Field(alias="thumb_path")]]
    title: NotRequired[Annotated[Optional[str], Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    variant_idx: NotRequired[Annotated[Optional[int], Field(alias="variant_idx")]]

class PublicCommunityItemsUpdate(TypedDict):
    apply_settings: NotRequired[Annotated[JsonValue, Field(alias="apply_settings")]]
    collection_id: NotRequired[Annotated[uuid.UUID, Field(alias="collection_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    image_path: NotRequired[Annotated[Optional[str], Field(alias="image_path")]]
    image_url: NotRequired[Annotated[Optional[str], Field(alias="image_url")]]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    render_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="render_id")]]
    thumb_path: NotRequired[Annotated[Optional[str], Field(alias="thumb_path")]]
    title: NotRequired[Annotated[Optional[str], Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    variant_idx: NotRequired[Annotated[Optional[int], Field(alias="variant_idx")]]

class PublicFillFields(BaseModel):
    field: str = Field(alias="field")
    instruction: str = Field(alias="instruction")
    is_enabled: bool = Field(alias="is_enabled")
    length_max: int = Field(alias="length_max")
    target: str = Field(alias="target")

class PublicFillFieldsInsert(TypedDict):
    field: Annotated[str, Field(alias="field")]
    instruction: Annotated[str, Field(alias="instruction")]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    length_max: Annotated[int, Field(alias="length_max")]
    target: NotRequired[Annotated[str, Field(alias="target")]]

class PublicFillFieldsUpdate(TypedDict):
    field: NotRequired[Annotated[str, Field(alias="field")]]
    instruction: NotRequired[Annotated[str, Field(alias="instruction")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    length_max: NotRequired[Annotated[int, Field(alias="length_max")]]
    target: NotRequired[Annotated[str, Field(alias="target")]]

class PublicGenerationJobs(BaseModel):
    cancel_requested_at: Optional[datetime.datetime] = Field(alias="cancel_requested_at")
    completed_at: Optional[datetime.datetime] = Field(alias="completed_at")
    cost: Optional[float] = Field(alias="cost")
    created_at: datetime.datetime = Field(alias="created_at")
    deleted_at: Optional[datetime.datetime] = Field(alias="deleted_at")
    duration_ms: Optional[int] = Field(alias="duration_ms")
    error: Optional[str] = Field(alias="error")
    error_code: Optional[str] = Field(alias="error_code")
    id: uuid.UUID = Field(alias="id")
    idempotency_key: Optional[str] = Field(alias="idempotency_key")
    input1_path: Optional[str] = Field(alias="input1_path")
    input2_path: Optional[str] = Field(alias="input2_path")
    is_retryable: bool = Field(alias="is_retryable")
    mask_asset_id: Optional[uuid.UUID] = Field(alias="mask_asset_id")
    mode: str = Field(alias="mode")
    model: Optional[str] = Field(alias="model")
    negative_prompt: Optional[str] = Field(alias="negative_prompt")
    owner_id: uuid.UUID = Field(alias="owner_id")
    params: JsonValue = Field(alias="params")
    parent_job_id: Optional[uuid.UUID] = Field(alias="parent_job_id")
    prediction_id: Optional[str] = Field(alias="prediction_id")
    progress: int = Field(alias="progress")
    prompt: Optional[str] = Field(alias="prompt")
    provider: str = Field(alias="provider")
    render_id: uuid.UUID = Field(alias="render_id")
    replay_job_ids: List[uuid.UUID] = Field(alias="replay_job_ids")
    request_digest: Optional[str] = Field(alias="request_digest")
    retry_of_id: Optional[uuid.UUID] = Field(alias="retry_of_id")
    room_type: Optional[str] = Field(alias="room_type")
    session_id: Optional[uuid.UUID] = Field(alias="session_id")
    source_asset_id: Optional[uuid.UUID] = Field(alias="source_asset_id")
    started_at: Optional[datetime.datetime] = Field(alias="started_at")
    status: str = Field(alias="status")
    style: Optional[str] = Field(alias="style")
    submitted_at: Optional[datetime.datetime] = Field(alias="submitted_at")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicGenerationJobsInsert(TypedDict):
    cancel_requested_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="cancel_requested_at")]]
    completed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="completed_at")]]
    cost: NotRequired[Annotated[Optional[float], Field(alias="cost")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    deleted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="deleted_at")]]
    duration_ms: NotRequired[Annotated[Optional[int], Field(alias="duration_ms")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    input1_path: NotRequired[Annotated[Optional[str], Field(alias="input1_path")]]
    input2_path: NotRequired[Annotated[Optional[str], Field(alias="input2_path")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    mask_asset_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="mask_asset_id")]]
    mode: Annotated[str, Field(alias="mode")]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    negative_prompt: NotRequired[Annotated[Optional[str], Field(alias="negative_prompt")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    params: NotRequired[Annotated[JsonValue, Field(alias="params")]]
    parent_job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="parent_job_id")]]
    prediction_id: NotRequired[Annotated[Optional[str], Field(alias="prediction_id")]]
    progress: NotRequired[Annotated[int, Field(alias="progress")]]
    prompt: NotRequired[Annotated[Optional[str], Field(alias="prompt")]]
    provider: Annotated[str, Field(alias="provider")]
    render_id: NotRequired[Annotated[uuid.UUID, Field(alias="render_id")]]
    replay_job_ids: NotRequired[Annotated[List[uuid.UUID], Field(alias="replay_job_ids")]]
    request_digest: NotRequired[Annotated[Optional[str], Field(alias="request_digest")]]
    retry_of_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="retry_of_id")]]
    room_type: NotRequired[Annotated[Optional[str], Field(alias="room_type")]]
    session_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="session_id")]]
    source_asset_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="source_asset_id")]]
    started_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="started_at")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    style: NotRequired[Annotated[Optional[str], Field(alias="style")]]
    submitted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="submitted_at")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicGenerationJobsUpdate(TypedDict):
    cancel_requested_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="cancel_requested_at")]]
    completed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="completed_at")]]
    cost: NotRequired[Annotated[Optional[float], Field(alias="cost")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    deleted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="deleted_at")]]
    duration_ms: NotRequired[Annotated[Optional[int], Field(alias="duration_ms")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    input1_path: NotRequired[Annotated[Optional[str], Field(alias="input1_path")]]
    input2_path: NotRequired[Annotated[Optional[str], Field(alias="input2_path")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    mask_asset_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="mask_asset_id")]]
    mode: NotRequired[Annotated[str, Field(alias="mode")]]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    negative_prompt: NotRequired[Annotated[Optional[str], Field(alias="negative_prompt")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    params: NotRequired[Annotated[JsonValue, Field(alias="params")]]
    parent_job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="parent_job_id")]]
    prediction_id: NotRequired[Annotated[Optional[str], Field(alias="prediction_id")]]
    progress: NotRequired[Annotated[int, Field(alias="progress")]]
    prompt: NotRequired[Annotated[Optional[str], Field(alias="prompt")]]
    provider: NotRequired[Annotated[str, Field(alias="provider")]]
    render_id: NotRequired[Annotated[uuid.UUID, Field(alias="render_id")]]
    replay_job_ids: NotRequired[Annotated[List[uuid.UUID], Field(alias="replay_job_ids")]]
    request_digest: NotRequired[Annotated[Optional[str], Field(alias="request_digest")]]
    retry_of_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="retry_of_id")]]
    room_type: NotRequired[Annotated[Optional[str], Field(alias="room_type")]]
    session_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="session_id")]]
    source_asset_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="source_asset_id")]]
    started_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="started_at")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    style: NotRequired[Annotated[Optional[str], Field(alias="style")]]
    submitted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="submitted_at")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicGenerationProviders(BaseModel):
    calls_per_minute_max: Optional[int] = Field(alias="calls_per_minute_max")
    concurrency_max: Optional[int] = Field(alias="concurrency_max")
    created_at: datetime.datetime = Field(alias="created_at")
    name: str = Field(alias="name")
    paused_until: Optional[datetime.datetime] = Field(alias="paused_until")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicGenerationProvidersInsert(TypedDict):
    calls_per_minute_max: NotRequired[Annotated[Optional[int], Field(alias="calls_per_minute_max")]]
    concurrency_max: NotRequired[Annotated[Optional[int], Field(alias="concurrency_max")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    name: Annotated[str, Field(alias="name")]
    paused_until: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="paused_until")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicGenerationProvidersUpdate(TypedDict):
    calls_per_minute_max: NotRequired[Annotated[Optional[int], Field(alias="calls_per_minute_max")]]
    concurrency_max: NotRequired[Annotated[Optional[int], Field(alias="concurrency_max")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    paused_until: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="paused_until")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicImageAssets(BaseModel):
    bucket: str = Field(alias="bucket")
    byte_size: Optional[int] = Field(alias="byte_size")
    created_at: datetime.datetime = Field(alias="created_at")
    height: Optional[int] = Field(alias="height")
    id: uuid.UUID = Field(alias="id")
    idle_since: Optional[datetime.datetime] = Field(alias="idle_since")
    job_id: Optional[uuid.UUID] = Field(alias="job_id")
    mime_type: Optional[str] = Field(alias="mime_type")
    owner_id: uuid.UUID = Field(alias="owner_id")
    path: str = Field(alias="path")
    role: str = Field(alias="role")
    sha256: Optional[str] = Field(alias="sha256")
    width: Optional[int] = Field(alias="width")

class PublicImageAssetsInsert(TypedDict):
    bucket: Annotated[str, Field(alias="bucket")]
    byte_size: NotRequired[Annotated[Optional[int], Field(alias="byte_size")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: NotRequired[Annotated[Optional[int], Field(alias="height")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idle_since: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="idle_since")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    mime_type: NotRequired[Annotated[Optional[str], Field(alias="mime_type")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    path: Annotated[str, Field(alias="path")]
    role: Annotated[str, Field(alias="role")]
    sha256: NotRequired[Annotated[Optional[str], Field(alias="sha256")]]
    width: NotRequired[Annotated[Optional[int], Field(alias="width")]]

class PublicImageAssetsUpdate(TypedDict):
    bucket: NotRequired[Annotated[str, Field(alias="bucket")]]
    byte_size: NotRequired[Annotated[Optional[int], Field(alias="byte_size")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: NotRequired[Annotated[Optional[int], Field(alias="height")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idle_since: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="idle_since")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    mime_type: NotRequired[Annotated[Optional[str], Field(alias="mime_type")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    path: NotRequired[Annotated[str, Field(alias="path")]]
    role: NotRequired[Annotated[str, Field(alias="role")]]
    sha256: NotRequired[Annotated[Optional[str], Field(alias="sha256")]]
    width: NotRequired[Annotated[Optional[int], Field(alias="width")]]

class PublicImageEvents(BaseModel):
    actor: str = Field(alias="actor")
    actor_id: Optional[uuid.UUID] = Field(alias="actor_id")
    created_at: datetime.datetime = Field(alias="created_at")
    data: JsonValue = Field(alias="data")
    event: str = Field(alias="event")
    id: int = Field(alias="id")
    image_id: Optional[uuid.UUID] = Field(alias="image_id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")

class PublicImageEventsInsert(TypedDict):
    actor: Annotated[str, Field(alias="actor")]
    actor_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="actor_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    event: Annotated[str, Field(alias="event")]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    image_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="image_id")]]
    listing_id: Annotated[uuid.UUID, Field(alias="listing_id")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]

class PublicImageEventsUpdate(TypedDict):
    actor: NotRequired[Annotated[str, Field(alias="actor")]]
    actor_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="actor_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    event: NotRequired[Annotated[str, Field(alias="event")]]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    image_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="image_id")]]
    listing_id: NotRequired[Annotated[uuid.UUID, Field(alias="listing_id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]

class PublicImageGenerationEvents(BaseModel):
    actor: str = Field(alias="actor")
    actor_id: Optional[uuid.UUID] = Field(alias="actor_id")
    created_at: datetime.datetime = Field(alias="created_at")
    data: JsonValue = Field(alias="data")
    event: str = Field(alias="event")
    id: int = Field(alias="id")
    job_id: Optional[uuid.UUID] = Field(alias="job_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    session_id: Optional[uuid.UUID] = Field(alias="session_id")

class PublicImageGenerationEventsInsert(TypedDict):
    actor: Annotated[str, Field(alias="actor")]
    actor_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="actor_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    event: Annotated[str, Field(alias="event")]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    session_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="session_id")]]

class PublicImageGenerationEventsUpdate(TypedDict):
    actor: NotRequired[Annotated[str, Field(alias="actor")]]
    actor_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="actor_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    event: NotRequired[Annotated[str, Field(alias="event")]]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    session_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="session_id")]]

class PublicImageSessions(BaseModel):
    archived_at: Optional[datetime.datetime] = Field(alias="archived_at")
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    model: Optional[str] = Field(alias="model")
    owner_id: uuid.UUID = Field(alias="owner_id")
    thumbnail_path: Optional[str] = Field(alias="thumbnail_path")
    title: str = Field(alias="title")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicImageSessionsInsert(TypedDict):
    archived_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="archived_at")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    thumbnail_path: NotRequired[Annotated[Optional[str], Field(alias="thumbnail_path")]]
    title: Annotated[str, Field(alias="title")]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicImageSessionsUpdate(TypedDict):
    archived_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="archived_at")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    thumbnail_path: NotRequired[Annotated[Optional[str], Field(alias="thumbnail_path")]]
    title: NotRequired[Annotated[str, Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicImageVariants(BaseModel):
    byte_size: int = Field(alias="byte_size")
    created_at: datetime.datetime = Field(alias="created_at")
    height: int = Field(alias="height")
    image_id: uuid.UUID = Field(alias="image_id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    path: str = Field(alias="path")
    role: str = Field(alias="role")
    width: int = Field(alias="width")

class PublicImageVariantsInsert(TypedDict):
    byte_size: Annotated[int, Field(alias="byte_size")]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: Annotated[int, Field(alias="height")]
    image_id: Annotated[uuid.UUID, Field(alias="image_id")]
    listing_id: Annotated[uuid.UUID, Field(alias="listing_id")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    path: Annotated[str, Field(alias="path")]
    role: Annotated[str, Field(alias="role")]
    width: Annotated[int, Field(alias="width")]

class PublicImageVariantsUpdate(TypedDict):
    byte_size: NotRequired[Annotated[int, Field(alias="byte_size")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: NotRequired[Annotated[int, Field(alias="height")]]
    image_id: NotRequired[Annotated[uuid.UUID, Field(alias="image_id")]]
    listing_id: NotRequired[Annotated[uuid.UUID, Field(alias="listing_id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    path: NotRequired[Annotated[str, Field(alias="path")]]
    role: NotRequired[Annotated[str, Field(alias="role")]]
    width: NotRequired[Annotated[int, Field(alias="width")]]

class PublicListingFills(BaseModel):
    applied: JsonValue = Field(alias="applied")
    completed_at: Optional[datetime.datetime] = Field(alias="completed_at")
    created_at: datetime.datetime = Field(alias="created_at")
    error: Optional[str] = Field(alias="error")
    error_code: Optional[str] = Field(alias="error_code")
    fields: List[str] = Field(alias="fields")
    id: uuid.UUID = Field(alias="id")
    idempotency_key: Optional[str] = Field(alias="idempotency_key")
    is_retryable: bool = Field(alias="is_retryable")
    kept: List[str] = Field(alias="kept")
    listing_id: Optional[uuid.UUID] = Field(alias="listing_id")
    model: Optional[str] = Field(alias="model")
    old_values: JsonValue = Field(alias="old_values")
    overwrite: bool = Field(alias="overwrite")
    owner_id: uuid.UUID = Field(alias="owner_id")
    provider: str = Field(alias="provider")
    request_digest: Optional[str] = Field(alias="request_digest")
    result: Optional[JsonValue] = Field(alias="result")
    skipped: JsonValue = Field(alias="skipped")
    started_at: Optional[datetime.datetime] = Field(alias="started_at")
    status: str = Field(alias="status")
    submitted_at: Optional[datetime.datetime] = Field(alias="submitted_at")
    undone_at: Optional[datetime.datetime] = Field(alias="undone_at")
    updated_at: datetime.datetime = Field(alias="updated_at")
    usage: Optional[JsonValue] = Field(alias="usage")

class PublicListingFillsInsert(TypedDict):
    applied: NotRequired[Annotated[JsonValue, Field(alias="applied")]]
    completed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="completed_at")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    fields: Annotated[List[str], Field(alias="fields")]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    kept: NotRequired[Annotated[List[str], Field(alias="kept")]]
    listing_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="listing_id")]]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    old_values: Annotated[JsonValue, Field(alias="old_values")]
    overwrite: Annotated[bool, Field(alias="overwrite")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    provider: Annotated[str, Field(alias="provider")]
    request_digest: NotRequired[Annotated[Optional[str], Field(alias="request_digest")]]
    result: NotRequired[Annotated[Optional[JsonValue], Field(alias="result")]]
    skipped: NotRequired[Annotated[JsonValue, Field(alias="skipped")]]
    started_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="started_at")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    submitted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="submitted_at")]]
    undone_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="undone_at")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    usage: NotRequired[Annotated[Optional[JsonValue], Field(alias="usage")]]

class PublicListingFillsUpdate(TypedDict):
    applied: NotRequired[Annotated[JsonValue, Field(alias="applied")]]
    completed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="completed_at")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    fields: NotRequired[Annotated[List[str], Field(alias="fields")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    kept: NotRequired[Annotated[List[str], Field(alias="kept")]]
    listing_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="listing_id")]]
    model: NotRequired[Annotated[Optional[str], Field(alias="model")]]
    old_values: NotRequired[Annotated[JsonValue, Field(alias="old_values")]]
    overwrite: NotRequired[Annotated[bool, Field(alias="overwrite")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    provider: NotRequired[Annotated[str, Field(alias="provider")]]
    request_digest: NotRequired[Annotated[Optional[str], Field(alias="request_digest")]]
    result: NotRequired[Annotated[Optional[JsonValue], Field(alias="result")]]
    skipped: NotRequired[Annotated[JsonValue, Field(alias="skipped")]]
    started_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="started_at")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    submitted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="submitted_at")]]
    undone_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="undone_at")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    usage: NotRequired[Annotated[Optional[JsonValue], Field(alias="usage")]]

class PublicListingImages(BaseModel):
    alt_text: Optional[str] = Field(alias="alt_text")
    byte_size: int = Field(alias="byte_size")
    correlation_id: Optional[str] = Field(alias="correlation_id")
    created_at: datetime.datetime = Field(alias="created_at")
    deleted_at: Optional[datetime.datetime] = Field(alias="deleted_at")
    duplicate_of: Optional[uuid.UUID] = Field(alias="duplicate_of")
    error: Optional[str] = Field(alias="error")
    error_code: Optional[str] = Field(alias="error_code")
    etag: Optional[str] = Field(alias="etag")
    file_name: str = Field(alias="file_name")
    height: Optional[int] = Field(alias="height")
    id: uuid.UUID = Field(alias="id")
    is_label: bool = Field(alias="is_label")
    is_retryable: bool = Field(alias="is_retryable")
    listing_id: uuid.UUID = Field(alias="listing_id")
    mime_type: str = Field(alias="mime_type")
    original_path: str = Field(alias="original_path")
    owner_id: uuid.UUID = Field(alias="owner_id")
    position: Optional[int] = Field(alias="position")
    ready_at: Optional[datetime.datetime] = Field(alias="ready_at")
    removed_position: Optional[int] = Field(alias="removed_position")
    replaces_id: Optional[uuid.UUID] = Field(alias="replaces_id")
    review_provider: Optional[str] = Field(alias="review_provider")
    review_reason: Optional[str] = Field(alias="review_reason")
    review_state: str = Field(alias="review_state")
    reviewed_at: Optional[datetime.datetime] = Field(alias="reviewed_at")
    sha256: Optional[str] = Field(alias="sha256")
    state: str = Field(alias="state")
    tags: List[str] = Field(alias="tags")
    thumbhash: Optional[str] = Field(alias="thumbhash")
    trace_parent: Optional[str] = Field(alias="trace_parent")
    updated_at: datetime.datetime = Field(alias="updated_at")
    upload_expires_at: datetime.datetime = Field(alias="upload_expires_at")
    uploaded_at: Optional[datetime.datetime] = Field(alias="uploaded_at")
    width: Optional[int] = Field(alias="width")
    withdrawn_at: Optional[datetime.datetime] = Field(alias="withdrawn_at")

class PublicListingImagesInsert(TypedDict):
    alt_text: NotRequired[Annotated[Optional[str], Field(alias="alt_text")]]
    byte_size: Annotated[int, Field(alias="byte_size")]
    correlation_id: NotRequired[Annotated[Optional[str], Field(alias="correlation_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    deleted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="deleted_at")]]
    duplicate_of: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="duplicate_of")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    etag: NotRequired[Annotated[Optional[str], Field(alias="etag")]]
    file_name: Annotated[str, Field(alias="file_name")]
    height: NotRequired[Annotated[Optional[int], Field(alias="height")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_label: NotRequired[Annotated[bool, Field(alias="is_label")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    listing_id: Annotated[uuid.UUID, Field(alias="listing_id")]
    mime_type: Annotated[str, Field(alias="mime_type")]
    original_path: Annotated[str, Field(alias="original_path")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    position: NotRequired[Annotated[Optional[int], Field(alias="position")]]
    ready_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="ready_at")]]
    removed_position: NotRequired[Annotated[Optional[int], Field(alias="removed_position")]]
    replaces_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="replaces_id")]]
    review_provider: NotRequired[Annotated[Optional[str], Field(alias="review_provider")]]
    review_reason: NotRequired[Annotated[Optional[str], Field(alias="review_reason")]]
    review_state: NotRequired[Annotated[str, Field(alias="review_state")]]
    reviewed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="reviewed_at")]]
    sha256: NotRequired[Annotated[Optional[str], Field(alias="sha256")]]
    state: NotRequired[Annotated[str, Field(alias="state")]]
    tags: NotRequired[Annotated[List[str], Field(alias="tags")]]
    thumbhash: NotRequired[Annotated[Optional[str], Field(alias="thumbhash")]]
    trace_parent: NotRequired[Annotated[Optional[str], Field(alias="trace_parent")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    upload_expires_at: Annotated[datetime.datetime, Field(alias="upload_expires_at")]
    uploaded_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="uploaded_at")]]
    width: NotRequired[Annotated[Optional[int], Field(alias="width")]]
    withdrawn_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="withdrawn_at")]]

class PublicListingImagesUpdate(TypedDict):
    alt_text: NotRequired[Annotated[Optional[str], Field(alias="alt_text")]]
    byte_size: NotRequired[Annotated[int, Field(alias="byte_size")]]
    correlation_id: NotRequired[Annotated[Optional[str], Field(alias="correlation_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    deleted_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="deleted_at")]]
    duplicate_of: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="duplicate_of")]]
    error: NotRequired[Annotated[Optional[str], Field(alias="error")]]
    error_code: NotRequired[Annotated[Optional[str], Field(alias="error_code")]]
    etag: NotRequired[Annotated[Optional[str], Field(alias="etag")]]
    file_name: NotRequired[Annotated[str, Field(alias="file_name")]]
    height: NotRequired[Annotated[Optional[int], Field(alias="height")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    is_label: NotRequired[Annotated[bool, Field(alias="is_label")]]
    is_retryable: NotRequired[Annotated[bool, Field(alias="is_retryable")]]
    listing_id: NotRequired[Annotated[uuid.UUID, Field(alias="listing_id")]]
    mime_type: NotRequired[Annotated[str, Field(alias="mime_type")]]
    original_path: NotRequired[Annotated[str, Field(alias="original_path")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    position: NotRequired[Annotated[Optional[int], Field(alias="position")]]
    ready_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="ready_at")]]
    removed_position: NotRequired[Annotated[Optional[int], Field(alias="removed_position")]]
    replaces_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="replaces_id")]]
    review_provider: NotRequired[Annotated[Optional[str], Field(alias="review_provider")]]
    review_reason: NotRequired[Annotated[Optional[str], Field(alias="review_reason")]]
    review_state: NotRequired[Annotated[str, Field(alias="review_state")]]
    reviewed_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="reviewed_at")]]
    sha256: NotRequired[Annotated[Optional[str], Field(alias="sha256")]]
    state: NotRequired[Annotated[str, Field(alias="state")]]
    tags: NotRequired[Annotated[List[str], Field(alias="tags")]]
    thumbhash: NotRequired[Annotated[Optional[str], Field(alias="thumbhash")]]
    trace_parent: NotRequired[Annotated[Optional[str], Field(alias="trace_parent")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    upload_expires_at: NotRequired[Annotated[datetime.datetime, Field(alias="upload_expires_at")]]
    uploaded_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="uploaded_at")]]
    width: NotRequired[Annotated[Optional[int], Field(alias="width")]]
    withdrawn_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="withdrawn_at")]]

class PublicListings(BaseModel):
    attributes: JsonValue = Field(alias="attributes")
    brand: Optional[str] = Field(alias="brand")
    category: Optional[str] = Field(alias="category")
    color: Optional[str] = Field(alias="color")
    condition: Optional[str] = Field(alias="condition")
    created_at: datetime.datetime = Field(alias="created_at")
    currency: Optional[str] = Field(alias="currency")
    description: Optional[str] = Field(alias="description")
    id: uuid.UUID = Field(alias="id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    price: Optional[float] = Field(alias="price")
    quantity: Optional[int] = Field(alias="quantity")
    size: Optional[str] = Field(alias="size")
    sku: Optional[str] = Field(alias="sku")
    status: str = Field(alias="status")
    title: Optional[str] = Field(alias="title")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicListingsInsert(TypedDict):
    attributes: NotRequired[Annotated[JsonValue, Field(alias="attributes")]]
    brand: NotRequired[Annotated[Optional[str], Field(alias="brand")]]
    category: NotRequired[Annotated[Optional[str], Field(alias="category")]]
    color: NotRequired[Annotated[Optional[str], Field(alias="color")]]
    condition: NotRequired[Annotated[Optional[str], Field(alias="condition")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    currency: NotRequired[Annotated[Optional[str], Field(alias="currency")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    price: NotRequired[Annotated[Optional[float], Field(alias="price")]]
    quantity: NotRequired[Annotated[Optional[int], Field(alias="quantity")]]
    size: NotRequired[Annotated[Optional[str], Field(alias="size")]]
    sku: NotRequired[Annotated[Optional[str], Field(alias="sku")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    title: NotRequired[Annotated[Optional[str], Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicListingsUpdate(TypedDict):
    attributes: NotRequired[Annotated[JsonValue, Field(alias="attributes")]]
    brand: NotRequired[Annotated[Optional[str], Field(alias="brand")]]
    category: NotRequired[Annotated[Optional[str], Field(alias="category")]]
    color: NotRequired[Annotated[Optional[str], Field(alias="color")]]
    condition: NotRequired[Annotated[Optional[str], Field(alias="condition")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    currency: NotRequired[Annotated[Optional[str], Field(alias="currency")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    price: NotRequired[Annotated[Optional[float], Field(alias="price")]]
    quantity: NotRequired[Annotated[Optional[int], Field(alias="quantity")]]
    size: NotRequired[Annotated[Optional[str], Field(alias="size")]]
    sku: NotRequired[Annotated[Optional[str], Field(alias="sku")]]
    status: NotRequired[Annotated[str, Field(alias="status")]]
    title: NotRequired[Annotated[Optional[str], Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPlans(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    monthly_fills: int = Field(alias="monthly_fills")
    monthly_generations: int = Field(alias="monthly_generations")
    name: str = Field(alias="name")
    price_id: str = Field(alias="price_id")
    storage_bytes_max: int = Field(alias="storage_bytes_max")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicPlansInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    monthly_fills: NotRequired[Annotated[int, Field(alias="monthly_fills")]]
    monthly_generations: Annotated[int, Field(alias="monthly_generations")]
    name: Annotated[str, Field(alias="name")]
    price_id: Annotated[str, Field(alias="price_id")]
    storage_bytes_max: Annotated[int, Field(alias="storage_bytes_max")]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPlansUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    monthly_fills: NotRequired[Annotated[int, Field(alias="monthly_fills")]]
    monthly_generations: NotRequired[Annotated[int, Field(alias="monthly_generations")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    price_id: NotRequired[Annotated[str, Field(alias="price_id")]]
    storage_bytes_max: NotRequired[Annotated[int, Field(alias="storage_bytes_max")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPresets(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    data: JsonValue = Field(alias="data")
    description: Optional[str] = Field(alias="description")
    is_default: bool = Field(alias="is_default")
    is_enabled: bool = Field(alias="is_enabled")
    kind: str = Field(alias="kind")
    name: str = Field(alias="name")
    position: int = Field(alias="position")
    title: str = Field(alias="title")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicPresetsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    is_default: NotRequired[Annotated[bool, Field(alias="is_default")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    kind: Annotated[str, Field(alias="kind")]
    name: Annotated[str, Field(alias="name")]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    title: Annotated[str, Field(alias="title")]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPresetsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    description: NotRequired[Annotated[Optional[str], Field(alias="description")]]
    is_default: NotRequired[Annotated[bool, Field(alias="is_default")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    kind: NotRequired[Annotated[str, Field(alias="kind")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    title: NotRequired[Annotated[str, Field(alias="title")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicProfiles(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    display_name: Optional[str] = Field(alias="display_name")
    id: uuid.UUID = Field(alias="id")
    price_id: str = Field(alias="price_id")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicProfilesInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    display_name: NotRequired[Annotated[Optional[str], Field(alias="display_name")]]
    id: Annotated[uuid.UUID, Field(alias="id")]
    price_id: NotRequired[Annotated[str, Field(alias="price_id")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicProfilesUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    display_name: NotRequired[Annotated[Optional[str], Field(alias="display_name")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    price_id: NotRequired[Annotated[str, Field(alias="price_id")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPromptRules(BaseModel):
    covers_negative: bool = Field(alias="covers_negative")
    created_at: datetime.datetime = Field(alias="created_at")
    is_enabled: bool = Field(alias="is_enabled")
    name: str = Field(alias="name")
    pattern: str = Field(alias="pattern")
    reason: str = Field(alias="reason")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicPromptRulesInsert(TypedDict):
    covers_negative: NotRequired[Annotated[bool, Field(alias="covers_negative")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    name: Annotated[str, Field(alias="name")]
    pattern: Annotated[str, Field(alias="pattern")]
    reason: Annotated[str, Field(alias="reason")]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicPromptRulesUpdate(TypedDict):
    covers_negative: NotRequired[Annotated[bool, Field(alias="covers_negative")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    pattern: NotRequired[Annotated[str, Field(alias="pattern")]]
    reason: NotRequired[Annotated[str, Field(alias="reason")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicRenderVariants(BaseModel):
    asset_id: uuid.UUID = Field(alias="asset_id")
    created_at: datetime.datetime = Field(alias="created_at")
    height: int = Field(alias="height")
    id: uuid.UUID = Field(alias="id")
    idx: int = Field(alias="idx")
    image_path: str = Field(alias="image_path")
    lost_at: Optional[datetime.datetime] = Field(alias="lost_at")
    lost_code: Optional[str] = Field(alias="lost_code")
    owner_id: uuid.UUID = Field(alias="owner_id")
    render_id: uuid.UUID = Field(alias="render_id")
    thumb_path: str = Field(alias="thumb_path")
    width: int = Field(alias="width")

class PublicRenderVariantsInsert(TypedDict):
    asset_id: Annotated[uuid.UUID, Field(alias="asset_id")]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: Annotated[int, Field(alias="height")]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idx: Annotated[int, Field(alias="idx")]
    image_path: Annotated[str, Field(alias="image_path")]
    lost_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="lost_at")]]
    lost_code: NotRequired[Annotated[Optional[str], Field(alias="lost_code")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    render_id: Annotated[uuid.UUID, Field(alias="render_id")]
    thumb_path: Annotated[str, Field(alias="thumb_path")]
    width: Annotated[int, Field(alias="width")]

class PublicRenderVariantsUpdate(TypedDict):
    asset_id: NotRequired[Annotated[uuid.UUID, Field(alias="asset_id")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    height: NotRequired[Annotated[int, Field(alias="height")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    idx: NotRequired[Annotated[int, Field(alias="idx")]]
    image_path: NotRequired[Annotated[str, Field(alias="image_path")]]
    lost_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="lost_at")]]
    lost_code: NotRequired[Annotated[Optional[str], Field(alias="lost_code")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    render_id: NotRequired[Annotated[uuid.UUID, Field(alias="render_id")]]
    thumb_path: NotRequired[Annotated[str, Field(alias="thumb_path")]]
    width: NotRequired[Annotated[int, Field(alias="width")]]

class PublicRenders(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    job_id: uuid.UUID = Field(alias="job_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    tags: List[str] = Field(alias="tags")

class PublicRendersInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: Annotated[uuid.UUID, Field(alias="id")]
    job_id: Annotated[uuid.UUID, Field(alias="job_id")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    tags: NotRequired[Annotated[List[str], Field(alias="tags")]]

class PublicRendersUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    job_id: NotRequired[Annotated[uuid.UUID, Field(alias="job_id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    tags: NotRequired[Annotated[List[str], Field(alias="tags")]]

class PublicSavedListItems(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    list_id: uuid.UUID = Field(alias="list_id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")

class PublicSavedListItemsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    list_id: Annotated[uuid.UUID, Field(alias="list_id")]
    listing_id: Annotated[uuid.UUID, Field(alias="listing_id")]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]

class PublicSavedListItemsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    list_id: NotRequired[Annotated[uuid.UUID, Field(alias="list_id")]]
    listing_id: NotRequired[Annotated[uuid.UUID, Field(alias="listing_id")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]

class PublicSavedLists(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    name: str = Field(alias="name")
    owner_id: uuid.UUID = Field(alias="owner_id")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicSavedListsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    name: Annotated[str, Field(alias="name")]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicSavedListsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[uuid.UUID, Field(alias="id")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicSiteCredentials(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    last_used_at: Optional[datetime.datetime] = Field(alias="last_used_at")
    owner_id: uuid.UUID = Field(alias="owner_id")
    site: str = Field(alias="site")
    updated_at: datetime.datetime = Field(alias="updated_at")
    use_count: int = Field(alias="use_count")

class PublicSiteCredentialsInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    last_used_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="last_used_at")]]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    site: Annotated[str, Field(alias="site")]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    use_count: NotRequired[Annotated[int, Field(alias="use_count")]]

class PublicSiteCredentialsUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    last_used_at: NotRequired[Annotated[Optional[datetime.datetime], Field(alias="last_used_at")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    site: NotRequired[Annotated[str, Field(alias="site")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    use_count: NotRequired[Annotated[int, Field(alias="use_count")]]

class PublicSitePolicies(BaseModel):
    alt_text_length_max: int = Field(alias="alt_text_length_max")
    created_at: datetime.datetime = Field(alias="created_at")
    duplicate_images: str = Field(alias="duplicate_images")
    fill_photos_max: int = Field(alias="fill_photos_max")
    fill_providers: List[str] = Field(alias="fill_providers")
    fill_seconds_max: int = Field(alias="fill_seconds_max")
    generation_count_max: int = Field(alias="generation_count_max")
    generation_daily_max: int = Field(alias="generation_daily_max")
    generation_failed_seconds: int = Field(alias="generation_failed_seconds")
    generation_prompt_length_max: int = Field(alias="generation_prompt_length_max")
    generation_providers: List[str] = Field(alias="generation_providers")
    generation_rate_max: int = Field(alias="generation_rate_max")
    generation_seconds_max: int = Field(alias="generation_seconds_max")
    generation_session_rate_max: int = Field(alias="generation_session_rate_max")
    generation_side_max: int = Field(alias="generation_side_max")
    id: bool = Field(alias="id")
    image_aspect_max: float = Field(alias="image_aspect_max")
    image_bytes_max: int = Field(alias="image_bytes_max")
    image_megapixels_max: float = Field(alias="image_megapixels_max")
    image_mime_types: List[str] = Field(alias="image_mime_types")
    image_side_min: int = Field(alias="image_side_min")
    images_per_listing_max: int = Field(alias="images_per_listing_max")
    input_unused_seconds: int = Field(alias="input_unused_seconds")
    photo_review_enabled: bool = Field(alias="photo_review_enabled")
    photo_review_provider: str = Field(alias="photo_review_provider")
    reservation_seconds: int = Field(alias="reservation_seconds")
    saved_list_items_max: int = Field(alias="saved_list_items_max")
    saved_lists_max: int = Field(alias="saved_lists_max")
    session_idle_seconds: int = Field(alias="session_idle_seconds")
    signed_url_seconds_max: int = Field(alias="signed_url_seconds_max")
    tag_length_max: int = Field(alias="tag_length_max")
    tags_max: int = Field(alias="tags_max")
    undo_seconds: int = Field(alias="undo_seconds")
    updated_at: datetime.datetime = Field(alias="updated_at")
    upload_batch_max: int = Field(alias="upload_batch_max")

class PublicSitePoliciesInsert(TypedDict):
    alt_text_length_max: NotRequired[Annotated[int, Field(alias="alt_text_length_max")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    duplicate_images: NotRequired[Annotated[str, Field(alias="duplicate_images")]]
    fill_photos_max: NotRequired[Annotated[int, Field(alias="fill_photos_max")]]
    fill_providers: NotRequired[Annotated[List[str], Field(alias="fill_providers")]]
    fill_seconds_max: NotRequired[Annotated[int, Field(alias="fill_seconds_max")]]
    generation_count_max: NotRequired[Annotated[int, Field(alias="generation_count_max")]]
    generation_daily_max: NotRequired[Annotated[int, Field(alias="generation_daily_max")]]
    generation_failed_seconds: NotRequired[Annotated[int, Field(alias="generation_failed_seconds")]]
    generation_prompt_length_max: NotRequired[Annotated[int, Field(alias="generation_prompt_length_max")]]
    generation_providers: NotRequired[Annotated[List[str], Field(alias="generation_providers")]]
    generation_rate_max: NotRequired[Annotated[int, Field(alias="generation_rate_max")]]
    generation_seconds_max: NotRequired[Annotated[int, Field(alias="generation_seconds_max")]]
    generation_session_rate_max: NotRequired[Annotated[int, Field(alias="generation_session_rate_max")]]
    generation_side_max: NotRequired[Annotated[int, Field(alias="generation_side_max")]]
    id: NotRequired[Annotated[bool, Field(alias="id")]]
    image_aspect_max: NotRequired[Annotated[float, Field(alias="image_aspect_max")]]
    image_bytes_max: NotRequired[Annotated[int, Field(alias="image_bytes_max")]]
    image_megapixels_max: NotRequired[Annotated[float, Field(alias="image_megapixels_max")]]
    image_mime_types: NotRequired[Annotated[List[str], Field(alias="image_mime_types")]]
    image_side_min: NotRequired[Annotated[int, Field(alias="image_side_min")]]
    images_per_listing_max: NotRequired[Annotated[int, Field(alias="images_per_listing_max")]]
    input_unused_seconds: NotRequired[Annotated[int, Field(alias="input_unused_seconds")]]
    photo_review_enabled: NotRequired[Annotated[bool, Field(alias="photo_review_enabled")]]
    photo_review_provider: NotRequired[Annotated[str, Field(alias="photo_review_provider")]]
    reservation_seconds: NotRequired[Annotated[int, Field(alias="reservation_seconds")]]
    saved_list_items_max: NotRequired[Annotated[int, Field(alias="saved_list_items_max")]]
    saved_lists_max: NotRequired[Annotated[int, Field(alias="saved_lists_max")]]
    session_idle_seconds: NotRequired[Annotated[int, Field(alias="session_idle_seconds")]]
    signed_url_seconds_max: NotRequired[Annotated[int, Field(alias="signed_url_seconds_max")]]
    tag_length_max: NotRequired[Annotated[int, Field(alias="tag_length_max")]]
    tags_max: NotRequired[Annotated[int, Field(alias="tags_max")]]
    undo_seconds: NotRequired[Annotated[int, Field(alias="undo_seconds")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    upload_batch_max: NotRequired[Annotated[int, Field(alias="upload_batch_max")]]

class PublicSitePoliciesUpdate(TypedDict):
    alt_text_length_max: NotRequired[Annotated[int, Field(alias="alt_text_length_max")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    duplicate_images: NotRequired[Annotated[str, Field(alias="duplicate_images")]]
    fill_photos_max: NotRequired[Annotated[int, Field(alias="fill_photos_max")]]
    fill_providers: NotRequired[Annotated[List[str], Field(alias="fill_providers")]]
    fill_seconds_max: NotRequired[Annotated[int, Field(alias="fill_seconds_max")]]
    generation_count_max: NotRequired[Annotated[int, Field(alias="generation_count_max")]]
    generation_daily_max: NotRequired[Annotated[int, Field(alias="generation_daily_max")]]
    generation_failed_seconds: NotRequired[Annotated[int, Field(alias="generation_failed_seconds")]]
    generation_prompt_length_max: NotRequired[Annotated[int, Field(alias="generation_prompt_length_max")]]
    generation_providers: NotRequired[Annotated[List[str], Field(alias="generation_providers")]]
    generation_rate_max: NotRequired[Annotated[int, Field(alias="generation_rate_max")]]
    generation_seconds_max: NotRequired[Annotated[int, Field(alias="generation_seconds_max")]]
    generation_session_rate_max: NotRequired[Annotated[int, Field(alias="generation_session_rate_max")]]
    generation_side_max: NotRequired[Annotated[int, Field(alias="generation_side_max")]]
    id: NotRequired[Annotated[bool, Field(alias="id")]]
    image_aspect_max: NotRequired[Annotated[float, Field(alias="image_aspect_max")]]
    image_bytes_max: NotRequired[Annotated[int, Field(alias="image_bytes_max")]]
    image_megapixels_max: NotRequired[Annotated[float, Field(alias="image_megapixels_max")]]
    image_mime_types: NotRequired[Annotated[List[str], Field(alias="image_mime_types")]]
    image_side_min: NotRequired[Annotated[int, Field(alias="image_side_min")]]
    images_per_listing_max: NotRequired[Annotated[int, Field(alias="images_per_listing_max")]]
    input_unused_seconds: NotRequired[Annotated[int, Field(alias="input_unused_seconds")]]
    photo_review_enabled: NotRequired[Annotated[bool, Field(alias="photo_review_enabled")]]
    photo_review_provider: NotRequired[Annotated[str, Field(alias="photo_review_provider")]]
    reservation_seconds: NotRequired[Annotated[int, Field(alias="reservation_seconds")]]
    saved_list_items_max: NotRequired[Annotated[int, Field(alias="saved_list_items_max")]]
    saved_lists_max: NotRequired[Annotated[int, Field(alias="saved_lists_max")]]
    session_idle_seconds: NotRequired[Annotated[int, Field(alias="session_idle_seconds")]]
    signed_url_seconds_max: NotRequired[Annotated[int, Field(alias="signed_url_seconds_max")]]
    tag_length_max: NotRequired[Annotated[int, Field(alias="tag_length_max")]]
    tags_max: NotRequired[Annotated[int, Field(alias="tags_max")]]
    undo_seconds: NotRequired[Annotated[int, Field(alias="undo_seconds")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    upload_batch_max: NotRequired[Annotated[int, Field(alias="upload_batch_max")]]

class PublicSitePolicyEvents(BaseModel):
    actor: str = Field(alias="actor")
    created_at: datetime.datetime = Field(alias="created_at")
    data: JsonValue = Field(alias="data")
    id: int = Field(alias="id")

class PublicSitePolicyEventsInsert(TypedDict):
    actor: Annotated[str, Field(alias="actor")]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: Annotated[JsonValue, Field(alias="data")]
    id: NotRequired[Annotated[int, Field(alias="id")]]

class PublicSitePolicyEventsUpdate(TypedDict):
    actor: NotRequired[Annotated[str, Field(alias="actor")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    data: NotRequired[Annotated[JsonValue, Field(alias="data")]]
    id: NotRequired[Annotated[int, Field(alias="id")]]

class PublicSiteRules(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    is_confirmed: bool = Field(alias="is_confirmed")
    read_on: datetime.date = Field(alias="read_on")
    rule: str = Field(alias="rule")
    site_id: str = Field(alias="site_id")
    source: str = Field(alias="source")
    source_url: Optional[str] = Field(alias="source_url")
    updated_at: datetime.datetime = Field(alias="updated_at")
    value: JsonValue = Field(alias="value")

class PublicSiteRulesInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    is_confirmed: NotRequired[Annotated[bool, Field(alias="is_confirmed")]]
    read_on: Annotated[datetime.date, Field(alias="read_on")]
    rule: Annotated[str, Field(alias="rule")]
    site_id: Annotated[str, Field(alias="site_id")]
    source: Annotated[str, Field(alias="source")]
    source_url: NotRequired[Annotated[Optional[str], Field(alias="source_url")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    value: Annotated[JsonValue, Field(alias="value")]

class PublicSiteRulesUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    is_confirmed: NotRequired[Annotated[bool, Field(alias="is_confirmed")]]
    read_on: NotRequired[Annotated[datetime.date, Field(alias="read_on")]]
    rule: NotRequired[Annotated[str, Field(alias="rule")]]
    site_id: NotRequired[Annotated[str, Field(alias="site_id")]]
    source: NotRequired[Annotated[str, Field(alias="source")]]
    source_url: NotRequired[Annotated[Optional[str], Field(alias="source_url")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]
    value: NotRequired[Annotated[JsonValue, Field(alias="value")]]

class PublicSites(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    id: str = Field(alias="id")
    is_enabled: bool = Field(alias="is_enabled")
    name: str = Field(alias="name")
    position: int = Field(alias="position")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicSitesInsert(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: Annotated[str, Field(alias="id")]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    name: Annotated[str, Field(alias="name")]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicSitesUpdate(TypedDict):
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[str, Field(alias="id")]]
    is_enabled: NotRequired[Annotated[bool, Field(alias="is_enabled")]]
    name: NotRequired[Annotated[str, Field(alias="name")]]
    position: NotRequired[Annotated[int, Field(alias="position")]]
    updated_at: NotRequired[Annotated[datetime.datetime, Field(alias="updated_at")]]

class PublicUsageLedger(BaseModel):
    adjusted_by: Optional[str] = Field(alias="adjusted_by")
    created_at: datetime.datetime = Field(alias="created_at")
    id: int = Field(alias="id")
    idempotency_key: Optional[str] = Field(alias="idempotency_key")
    job_id: Optional[uuid.UUID] = Field(alias="job_id")
    kind: str = Field(alias="kind")
    owner_id: uuid.UUID = Field(alias="owner_id")
    reason: Optional[str] = Field(alias="reason")
    units: int = Field(alias="units")

class PublicUsageLedgerInsert(TypedDict):
    adjusted_by: NotRequired[Annotated[Optional[str], Field(alias="adjusted_by")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    kind: Annotated[str, Field(alias="kind")]
    owner_id: Annotated[uuid.UUID, Field(alias="owner_id")]
    reason: NotRequired[Annotated[Optional[str], Field(alias="reason")]]
    units: Annotated[int, Field(alias="units")]

class PublicUsageLedgerUpdate(TypedDict):
    adjusted_by: NotRequired[Annotated[Optional[str], Field(alias="adjusted_by")]]
    created_at: NotRequired[Annotated[datetime.datetime, Field(alias="created_at")]]
    id: NotRequired[Annotated[int, Field(alias="id")]]
    idempotency_key: NotRequired[Annotated[Optional[str], Field(alias="idempotency_key")]]
    job_id: NotRequired[Annotated[Optional[uuid.UUID], Field(alias="job_id")]]
    kind: NotRequired[Annotated[str, Field(alias="kind")]]
    owner_id: NotRequired[Annotated[uuid.UUID, Field(alias="owner_id")]]
    reason: NotRequired[Annotated[Optional[str], Field(alias="reason")]]
    units: NotRequired[Annotated[int, Field(alias="units")]]

class PublicVariantSpecs(BaseModel):
    max_side: int = Field(alias="max_side")
    quality: int = Field(alias="quality")
    role: str = Field(alias="role")

class PublicVariantSpecsInsert(TypedDict):
    max_side: Annotated[int, Field(alias="max_side")]
    quality: Annotated[int, Field(alias="quality")]
    role: Annotated[str, Field(alias="role")]

class PublicVariantSpecsUpdate(TypedDict):
    max_side: NotRequired[Annotated[int, Field(alias="max_side")]]
    quality: NotRequired[Annotated[int, Field(alias="quality")]]
    role: NotRequired[Annotated[str, Field(alias="role")]]

class PublicActiveSessions(BaseModel):
    created_at: datetime.datetime = Field(alias="created_at")
    id: uuid.UUID = Field(alias="id")
    model: Optional[str] = Field(alias="model")
    owner_id: uuid.UUID = Field(alias="owner_id")
    thumbnail_path: Optional[str] = Field(alias="thumbnail_path")
    title: str = Field(alias="title")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicCredentials(BaseModel):
    is_enabled: Optional[bool] = Field(alias="is_enabled")
    is_set: Optional[bool] = Field(alias="is_set")
    last_used_at: Optional[datetime.datetime] = Field(alias="last_used_at")
    name: Optional[str] = Field(alias="name")
    site: Optional[str] = Field(alias="site")
    updated_at: Optional[datetime.datetime] = Field(alias="updated_at")

class PublicGallery(BaseModel):
    alt_text: Optional[str] = Field(alias="alt_text")
    height: Optional[int] = Field(alias="height")
    id: uuid.UUID = Field(alias="id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    listing_status: str = Field(alias="listing_status")
    owner_id: uuid.UUID = Field(alias="owner_id")
    position: Optional[int] = Field(alias="position")
    ready_at: Optional[datetime.datetime] = Field(alias="ready_at")
    thumbhash: Optional[str] = Field(alias="thumbhash")
    variants: Optional[JsonValue] = Field(alias="variants")
    width: Optional[int] = Field(alias="width")

class PublicLabelImages(BaseModel):
    alt_text: Optional[str] = Field(alias="alt_text")
    height: Optional[int] = Field(alias="height")
    id: uuid.UUID = Field(alias="id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    original_path: str = Field(alias="original_path")
    owner_id: uuid.UUID = Field(alias="owner_id")
    position: Optional[int] = Field(alias="position")
    state: str = Field(alias="state")
    thumbhash: Optional[str] = Field(alias="thumbhash")
    width: Optional[int] = Field(alias="width")

class PublicListingCovers(BaseModel):
    alt_text: Optional[str] = Field(alias="alt_text")
    height: Optional[int] = Field(alias="height")
    image_id: uuid.UUID = Field(alias="image_id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    thumbhash: Optional[str] = Field(alias="thumbhash")
    variants: Optional[JsonValue] = Field(alias="variants")
    width: Optional[int] = Field(alias="width")

class PublicListingCsv(BaseModel):
    attributes: Optional[str] = Field(alias="attributes")
    brand: Optional[str] = Field(alias="brand")
    category: Optional[str] = Field(alias="category")
    color: Optional[str] = Field(alias="color")
    condition: Optional[str] = Field(alias="condition")
    currency: Optional[str] = Field(alias="currency")
    description: Optional[str] = Field(alias="description")
    images: Optional[str] = Field(alias="images")
    price: Optional[str] = Field(alias="price")
    quantity: Optional[str] = Field(alias="quantity")
    size: Optional[str] = Field(alias="size")
    sku: Optional[str] = Field(alias="sku")
    status: str = Field(alias="status")
    title: Optional[str] = Field(alias="title")

class PublicMediaTray(BaseModel):
    can_retry: Optional[bool] = Field(alias="can_retry")
    created_at: datetime.datetime = Field(alias="created_at")
    duplicate_of: Optional[uuid.UUID] = Field(alias="duplicate_of")
    file_name: str = Field(alias="file_name")
    id: uuid.UUID = Field(alias="id")
    is_label: bool = Field(alias="is_label")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    position: Optional[int] = Field(alias="position")
    reason: Optional[str] = Field(alias="reason")
    reason_code: Optional[str] = Field(alias="reason_code")
    replaces_id: Optional[uuid.UUID] = Field(alias="replaces_id")
    restorable_until: Optional[datetime.datetime] = Field(alias="restorable_until")
    status: Optional[str] = Field(alias="status")
    updated_at: datetime.datetime = Field(alias="updated_at")

class PublicSavedListCovers(BaseModel):
    alt_text: Optional[str] = Field(alias="alt_text")
    height: Optional[int] = Field(alias="height")
    image_id: uuid.UUID = Field(alias="image_id")
    list_id: uuid.UUID = Field(alias="list_id")
    listing_id: uuid.UUID = Field(alias="listing_id")
    owner_id: uuid.UUID = Field(alias="owner_id")
    thumbhash: Optional[str] = Field(alias="thumbhash")
    variants: Optional[JsonValue] = Field(alias="variants")
    width: Optional[int] = Field(alias="width")

class PublicSmartCollectionRenders(BaseModel):
    collection_id: uuid.UUID = Field(alias="collection_id")
    created_at: datetime.datetime = Field(alias="created_at")
    image_path: Optional[str] = Field(alias="image_path")
    job_id: uuid.UUID = Field(alias="job_id")
    mode: str = Field(alias="mode")
    model: Optional[str] = Field(alias="model")
    owner_id: uuid.UUID = Field(alias="owner_id")
    render_id: uuid.UUID = Field(alias="render_id")
    room_type: Optional[str] = Field(alias="room_type")
    session_id: Optional[uuid.UUID] = Field(alias="session_id")
    style: Optional[str] = Field(alias="style")
    tags: List[str] = Field(alias="tags")
    thumb_path: Optional[str] = Field(alias="thumb_path")
