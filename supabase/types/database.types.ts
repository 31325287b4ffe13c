// Made by `make types` (supabase gen types) from the database; do not edit.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  "public": {
    Tables: {
      "collection_items": {
        Row: {
          "collection_id": string
          "created_at": string
          "owner_id": string
          "render_id": string
        }
        ComputedFields: never
        Insert: {
          "collection_id": string
          "created_at"?: string
          "owner_id"?: string
          "render_id": string
        }
        Update: {
          "collection_id"?: string
          "created_at"?: string
          "owner_id"?: string
          "render_id"?: string
        }
        Relationships: [{
          foreignKeyName: "item_belongs_to_a_collection_of_its_owner"
          columns: ["owner_id", "collection_id"]
          isOneToOne: false
          referencedRelation: "collections"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "item_is_a_render_of_its_owner"
          columns: ["owner_id", "render_id"]
          isOneToOne: false
          referencedRelation: "renders"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "item_is_a_render_of_its_owner"
          columns: ["owner_id", "render_id"]
          isOneToOne: false
          referencedRelation: "smart_collection_renders"
          referencedColumns: ["owner_id", "render_id"]
        }]
      }
      "collections": {
        Row: {
          "created_at": string
          "id": string
          "is_default": boolean
          "name": string
          "owner_id": string
          "rule": Json | null
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "id"?: string
          "is_default"?: boolean
          "name": string
          "owner_id"?: string
          "rule"?: Json | null
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "id"?: string
          "is_default"?: boolean
          "name"?: string
          "owner_id"?: string
          "rule"?: Json | null
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "collection_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "community_collections": {
        Row: {
          "created_at": string
          "description": string | null
          "id": string
          "is_featured": boolean
          "name": string
          "position": number
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "description"?: string | null
          "id"?: string
          "is_featured"?: boolean
          "name": string
          "position"?: number
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "description"?: string | null
          "id"?: string
          "is_featured"?: boolean
          "name"?: string
          "position"?: number
          "updated_at"?: string
        }
        Relationships: []
      }
      "community_items": {
        Row: {
          "apply_settings": NonNullable<Json>
          "collection_id": string
          "created_at": string
          "id": string
          "image_path": string | null
          "image_url": string | null
          "position": number
          "render_id": string | null
          "thumb_path": string | null
          "title": string | null
          "updated_at": string
          "variant_idx": number | null
        }
        ComputedFields: never
        Insert: {
          "apply_settings"?: NonNullable<Json>
          "collection_id": string
          "created_at"?: string
          "id"?: string
          "image_path"?: string | null
          "image_url"?: string | null
          "position"?: number
          "render_id"?: string | null
          "thumb_path"?: string | null
          "title"?: string | null
          "updated_at"?: string
          "variant_idx"?: number | null
        }
        Update: {
          "apply_settings"?: NonNullable<Json>
          "collection_id"?: string
          "created_at"?: string
          "id"?: string
          "image_path"?: string | null
          "image_url"?: string | null
          "position"?: number
          "render_id"?: string | null
          "thumb_path"?: string | null
          "title"?: string | null
          "updated_at"?: string
          "variant_idx"?: number | null
        }
        Relationships: [{
          foreignKeyName: "community_item_belongs_to_a_collection"
          columns: ["collection_id"]
          isOneToOne: false
          referencedRelation: "community_collections"
          referencedColumns: ["id"]
        }, {
          foreignKeyName: "community_item_is_a_picture_of_a_render"
          columns: ["render_id", "variant_idx"]
          isOneToOne: false
          referencedRelation: "render_variants"
          referencedColumns: ["render_id", "idx"]
        }]
      }
      "fill_fields": {
        Row: {
          "field": string
          "instruction": string
          "is_enabled": boolean
          "length_max": number
          "target": string
        }
        ComputedFields: never
        Insert: {
          "field": string
          "instruction": string
          "is_enabled"?: boolean
          "length_max": number
          "target"?: string
        }
        Update: {
          "field"?: string
          "instruction"?: string
          "is_enabled"?: boolean
          "length_max"?: number
          "target"?: string
        }
        Relationships: []
      }
      "generation_jobs": {
        Row: {
          "cancel_requested_at": string | null
          "completed_at": string | null
          "cost": number | null
          "created_at": string
          "deleted_at": string | null
          "duration_ms": number | null
          "error": string | null
          "error_code": string | null
          "id": string
          "idempotency_key": string | null
          "input1_path": string | null
          "input2_path": string | null
          "is_retryable": boolean
          "mask_asset_id": string | null
          "mode": string
          "model": string | null
          "negative_prompt": string | null
          "owner_id": string
          "params": NonNullable<Json>
          "parent_job_id": string | null
          "prediction_id": string | null
          "progress": number
          "prompt": string | null
          "provider": string
          "render_id": string
          "replay_job_ids": (string)[]
          "request_digest": string | null
          "retry_of_id": string | null
          "room_type": string | null
          "session_id": string | null
          "source_asset_id": string | null
          "started_at": string | null
          "status": string
          "style": string | null
          "submitted_at": string | null
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "cancel_requested_at"?: string | null
          "completed_at"?: string | null
          "cost"?: number | null
          "created_at"?: string
          "deleted_at"?: string | null
          "duration_ms"?: number | null
          "error"?: string | null
          "error_code"?: string | null
          "id"?: string
          "idempotency_key"?: string | null
          "input1_path"?: string | null
          "input2_path"?: string | null
          "is_retryable"?: boolean
          "mask_asset_id"?: string | null
          "mode": string
          "model"?: string | null
          "negative_prompt"?: string | null
          "owner_id": string
          "params"?: NonNullable<Json>
          "parent_job_id"?: string | null
          "prediction_id"?: string | null
          "progress"?: number
          "prompt"?: string | null
          "provider": string
          "render_id"?: string
          "replay_job_ids"?: (string)[]
          "request_digest"?: string | null
          "retry_of_id"?: string | null
          "room_type"?: string | null
          "session_id"?: string | null
          "source_asset_id"?: string | null
          "started_at"?: string | null
          "status"?: string
          "style"?: string | null
          "submitted_at"?: string | null
          "updated_at"?: string
        }
        Update: {
          "cancel_requested_at"?: string | null
          "completed_at"?: string | null
          "cost"?: number | null
          "created_at"?: string
          "deleted_at"?: string | null
          "duration_ms"?: number | null
          "error"?: string | null
          "error_code"?: string | null
          "id"?: string
          "idempotency_key"?: string | null
          "input1_path"?: string | null
          "input2_path"?: string | null
          "is_retryable"?: boolean
          "mask_asset_id"?: string | null
          "mode"?: string
          "model"?: string | null
          "negative_prompt"?: string | null
          "owner_id"?: string
          "params"?: NonNullable<Json>
          "parent_job_id"?: string | null
          "prediction_id"?: string | null
          "progress"?: number
          "prompt"?: string | null
          "provider"?: string
          "render_id"?: string
          "replay_job_ids"?: (string)[]
          "request_digest"?: string | null
          "retry_of_id"?: string | null
          "room_type"?: string | null
          "session_id"?: string | null
          "source_asset_id"?: string | null
          "started_at"?: string | null
          "status"?: string
          "style"?: string | null
          "submitted_at"?: string | null
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "generation_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }, {
          foreignKeyName: "generation_belongs_to_a_session_of_its_owner"
          columns: ["owner_id", "session_id"]
          isOneToOne: false
          referencedRelation: "active_sessions"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "generation_belongs_to_a_session_of_its_owner"
          columns: ["owner_id", "session_id"]
          isOneToOne: false
          referencedRelation: "image_sessions"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "mask_asset_is_of_the_same_owner"
          columns: ["owner_id", "mask_asset_id"]
          isOneToOne: false
          referencedRelation: "image_assets"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "parent_is_of_the_same_owner"
          columns: ["owner_id", "parent_job_id"]
          isOneToOne: false
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "retried_generation_is_of_the_same_owner"
          columns: ["owner_id", "retry_of_id"]
          isOneToOne: false
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "source_asset_is_of_the_same_owner"
          columns: ["owner_id", "source_asset_id"]
          isOneToOne: false
          referencedRelation: "image_assets"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "generation_providers": {
        Row: {
          "calls_per_minute_max": number | null
          "concurrency_max": number | null
          "created_at": string
          "name": string
          "paused_until": string | null
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "calls_per_minute_max"?: number | null
          "concurrency_max"?: number | null
          "created_at"?: string
          "name": string
          "paused_until"?: string | null
          "updated_at"?: string
        }
        Update: {
          "calls_per_minute_max"?: number | null
          "concurrency_max"?: number | null
          "created_at"?: string
          "name"?: string
          "paused_until"?: string | null
          "updated_at"?: string
        }
        Relationships: []
      }
      "image_assets": {
        Row: {
          "bucket": string
          "byte_size": number | null
          "created_at": string
          "height": number | null
          "id": string
          "idle_since": string | null
          "job_id": string | null
          "mime_type": string | null
          "owner_id": string
          "path": string
          "role": string
          "sha256": string | null
          "width": number | null
        }
        ComputedFields: never
        Insert: {
          "bucket": string
          "byte_size"?: number | null
          "created_at"?: string
          "height"?: number | null
          "id"?: string
          "idle_since"?: string | null
          "job_id"?: string | null
          "mime_type"?: string | null
          "owner_id": string
          "path": string
          "role": string
          "sha256"?: string | null
          "width"?: number | null
        }
        Update: {
          "bucket"?: string
          "byte_size"?: number | null
          "created_at"?: string
          "height"?: number | null
          "id"?: string
          "idle_since"?: string | null
          "job_id"?: string | null
          "mime_type"?: string | null
          "owner_id"?: string
          "path"?: string
          "role"?: string
          "sha256"?: string | null
          "width"?: number | null
        }
        Relationships: [{
          foreignKeyName: "asset_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }, {
          foreignKeyName: "output_was_made_by_its_owner"
          columns: ["owner_id", "job_id"]
          isOneToOne: false
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "image_events": {
        Row: {
          "actor": string
          "actor_id": string | null
          "created_at": string
          "data": NonNullable<Json>
          "event": string
          "id": number
          "image_id": string | null
          "listing_id": string
          "owner_id": string
        }
        ComputedFields: never
        Insert: {
          "actor": string
          "actor_id"?: string | null
          "created_at"?: string
          "data"?: NonNullable<Json>
          "event": string
          "id"?: never
          "image_id"?: string | null
          "listing_id": string
          "owner_id": string
        }
        Update: {
          "actor"?: string
          "actor_id"?: string | null
          "created_at"?: string
          "data"?: NonNullable<Json>
          "event"?: string
          "id"?: never
          "image_id"?: string | null
          "listing_id"?: string
          "owner_id"?: string
        }
        Relationships: []
      }
      "image_generation_events": {
        Row: {
          "actor": string
          "actor_id": string | null
          "created_at": string
          "data": NonNullable<Json>
          "event": string
          "id": number
          "job_id": string | null
          "owner_id": string
          "session_id": string | null
        }
        ComputedFields: never
        Insert: {
          "actor": string
          "actor_id"?: string | null
          "created_at"?: string
          "data"?: NonNullable<Json>
          "event": string
          "id"?: never
          "job_id"?: string | null
          "owner_id": string
          "session_id"?: string | null
        }
        Update: {
          "actor"?: string
          "actor_id"?: string | null
          "created_at"?: string
          "data"?: NonNullable<Json>
          "event"?: string
          "id"?: never
          "job_id"?: string | null
          "owner_id"?: string
          "session_id"?: string | null
        }
        Relationships: [{
          foreignKeyName: "generation_event_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "image_sessions": {
        Row: {
          "archived_at": string | null
          "created_at": string
          "id": string
          "model": string | null
          "owner_id": string
          "thumbnail_path": string | null
          "title": string
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "archived_at"?: string | null
          "created_at"?: string
          "id"?: string
          "model"?: string | null
          "owner_id": string
          "thumbnail_path"?: string | null
          "title": string
          "updated_at"?: string
        }
        Update: {
          "archived_at"?: string | null
          "created_at"?: string
          "id"?: string
          "model"?: string | null
          "owner_id"?: string
          "thumbnail_path"?: string | null
          "title"?: string
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "session_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "image_variants": {
        Row: {
          "byte_size": number
          "created_at": string
          "height": number
          "image_id": string
          "listing_id": string
          "owner_id": string
          "path": string
          "role": string
          "width": number
        }
        ComputedFields: never
        Insert: {
          "byte_size": number
          "created_at"?: string
          "height": number
          "image_id": string
          "listing_id": string
          "owner_id": string
          "path": string
          "role": string
          "width": number
        }
        Update: {
          "byte_size"?: number
          "created_at"?: string
          "height"?: number
          "image_id"?: string
          "listing_id"?: string
          "owner_id"?: string
          "path"?: string
          "role"?: string
          "width"?: number
        }
        Relationships: [{
          foreignKeyName: "variant_belongs_to_an_image_of_its_owner"
          columns: ["image_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "label_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "variant_belongs_to_an_image_of_its_owner"
          columns: ["image_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "listing_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "variant_belongs_to_an_image_of_its_owner"
          columns: ["image_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "media_tray"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }]
      }
      "listing_fills": {
        Row: {
          "applied": NonNullable<Json>
          "completed_at": string | null
          "created_at": string
          "error": string | null
          "error_code": string | null
          "fields": (string)[]
          "id": string
          "idempotency_key": string | null
          "is_retryable": boolean
          "kept": (string)[]
          "listing_id": string | null
          "model": string | null
          "old_values": NonNullable<Json>
          "overwrite": boolean
          "owner_id": string
          "provider": string
          "request_digest": string | null
          "result": Json | null
          "skipped": NonNullable<Json>
          "started_at": string | null
          "status": string
          "submitted_at": string | null
          "undone_at": string | null
          "updated_at": string
          "usage": Json | null
        }
        ComputedFields: never
        Insert: {
          "applied"?: NonNullable<Json>
          "completed_at"?: string | null
          "created_at"?: string
          "error"?: string | null
          "error_code"?: string | null
          "fields": (string)[]
          "id"?: string
          "idempotency_key"?: string | null
          "is_retryable"?: boolean
          "kept"?: (string)[]
          "listing_id"?: string | null
          "model"?: string | null
          "old_values": NonNullable<Json>
          "overwrite": boolean
          "owner_id": string
          "provider": string
          "request_digest"?: string | null
          "result"?: Json | null
          "skipped"?: NonNullable<Json>
          "started_at"?: string | null
          "status"?: string
          "submitted_at"?: string | null
          "undone_at"?: string | null
          "updated_at"?: string
          "usage"?: Json | null
        }
        Update: {
          "applied"?: NonNullable<Json>
          "completed_at"?: string | null
          "created_at"?: string
          "error"?: string | null
          "error_code"?: string | null
          "fields"?: (string)[]
          "id"?: string
          "idempotency_key"?: string | null
          "is_retryable"?: boolean
          "kept"?: (string)[]
          "listing_id"?: string | null
          "model"?: string | null
          "old_values"?: NonNullable<Json>
          "overwrite"?: boolean
          "owner_id"?: string
          "provider"?: string
          "request_digest"?: string | null
          "result"?: Json | null
          "skipped"?: NonNullable<Json>
          "started_at"?: string | null
          "status"?: string
          "submitted_at"?: string | null
          "undone_at"?: string | null
          "updated_at"?: string
          "usage"?: Json | null
        }
        Relationships: [{
          foreignKeyName: "fill_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }, {
          foreignKeyName: "fill_is_of_a_listing_of_its_owner"
          columns: ["owner_id", "listing_id"]
          isOneToOne: false
          referencedRelation: "listings"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "listing_images": {
        Row: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }
        ComputedFields: never
        Insert: {
          "alt_text"?: string | null
          "byte_size": number
          "correlation_id"?: string | null
          "created_at"?: string
          "deleted_at"?: string | null
          "duplicate_of"?: string | null
          "error"?: string | null
          "error_code"?: string | null
          "etag"?: string | null
          "file_name": string
          "height"?: number | null
          "id"?: string
          "is_label"?: boolean
          "is_retryable"?: boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position"?: number | null
          "ready_at"?: string | null
          "removed_position"?: number | null
          "replaces_id"?: string | null
          "review_provider"?: string | null
          "review_reason"?: string | null
          "review_state"?: string
          "reviewed_at"?: string | null
          "sha256"?: string | null
          "state"?: string
          "tags"?: (string)[]
          "thumbhash"?: string | null
          "trace_parent"?: string | null
          "updated_at"?: string
          "upload_expires_at": string
          "uploaded_at"?: string | null
          "width"?: number | null
          "withdrawn_at"?: string | null
        }
        Update: {
          "alt_text"?: string | null
          "byte_size"?: number
          "correlation_id"?: string | null
          "created_at"?: string
          "deleted_at"?: string | null
          "duplicate_of"?: string | null
          "error"?: string | null
          "error_code"?: string | null
          "etag"?: string | null
          "file_name"?: string
          "height"?: number | null
          "id"?: string
          "is_label"?: boolean
          "is_retryable"?: boolean
          "listing_id"?: string
          "mime_type"?: string
          "original_path"?: string
          "owner_id"?: string
          "position"?: number | null
          "ready_at"?: string | null
          "removed_position"?: number | null
          "replaces_id"?: string | null
          "review_provider"?: string | null
          "review_reason"?: string | null
          "review_state"?: string
          "reviewed_at"?: string | null
          "sha256"?: string | null
          "state"?: string
          "tags"?: (string)[]
          "thumbhash"?: string | null
          "trace_parent"?: string | null
          "updated_at"?: string
          "upload_expires_at"?: string
          "uploaded_at"?: string | null
          "width"?: number | null
          "withdrawn_at"?: string | null
        }
        Relationships: [{
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "label_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "listing_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "media_tray"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "image_belongs_to_a_listing_of_its_owner"
          columns: ["owner_id", "listing_id"]
          isOneToOne: false
          referencedRelation: "listings"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "label_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "listing_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "media_tray"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }]
      }
      "listings": {
        Row: {
          "attributes": NonNullable<Json>
          "brand": string | null
          "category": string | null
          "color": string | null
          "condition": string | null
          "created_at": string
          "currency": string | null
          "description": string | null
          "id": string
          "owner_id": string
          "price": number | null
          "quantity": number | null
          "size": string | null
          "sku": string | null
          "status": string
          "title": string | null
          "updated_at": string
          "cover": {
            "alt_text": string | null
            "height": number | null
            "image_id": string
            "listing_id": string
            "owner_id": string
            "thumbhash": string | null
            "variants": Json | null
            "width": number | null
          } | null
          "gallery": {
            "alt_text": string | null
            "height": number | null
            "id": string
            "listing_id": string
            "listing_status": string
            "owner_id": string
            "position": number | null
            "ready_at": string | null
            "thumbhash": string | null
            "variants": Json | null
            "width": number | null
          } | null
        }
        ComputedFields: "cover" | "gallery"
        Insert: {
          "attributes"?: NonNullable<Json>
          "brand"?: string | null
          "category"?: string | null
          "color"?: string | null
          "condition"?: string | null
          "created_at"?: string
          "currency"?: string | null
          "description"?: string | null
          "id"?: string
          "owner_id"?: string
          "price"?: number | null
          "quantity"?: number | null
          "size"?: string | null
          "sku"?: string | null
          "status"?: string
          "title"?: string | null
          "updated_at"?: string
        }
        Update: {
          "attributes"?: NonNullable<Json>
          "brand"?: string | null
          "category"?: string | null
          "color"?: string | null
          "condition"?: string | null
          "created_at"?: string
          "currency"?: string | null
          "description"?: string | null
          "id"?: string
          "owner_id"?: string
          "price"?: number | null
          "quantity"?: number | null
          "size"?: string | null
          "sku"?: string | null
          "status"?: string
          "title"?: string | null
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "listing_has_an_owner"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "plans": {
        Row: {
          "created_at": string
          "monthly_fills": number
          "monthly_generations": number
          "name": string
          "price_id": string
          "storage_bytes_max": number
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "monthly_fills"?: number
          "monthly_generations": number
          "name": string
          "price_id": string
          "storage_bytes_max": number
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "monthly_fills"?: number
          "monthly_generations"?: number
          "name"?: string
          "price_id"?: string
          "storage_bytes_max"?: number
          "updated_at"?: string
        }
        Relationships: []
      }
      "presets": {
        Row: {
          "created_at": string
          "data": NonNullable<Json>
          "description": string | null
          "is_default": boolean
          "is_enabled": boolean
          "kind": string
          "name": string
          "position": number
          "title": string
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "data"?: NonNullable<Json>
          "description"?: string | null
          "is_default"?: boolean
          "is_enabled"?: boolean
          "kind": string
          "name": string
          "position"?: number
          "title": string
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "data"?: NonNullable<Json>
          "description"?: string | null
          "is_default"?: boolean
          "is_enabled"?: boolean
          "kind"?: string
          "name"?: string
          "position"?: number
          "title"?: string
          "updated_at"?: string
        }
        Relationships: []
      }
      "profiles": {
        Row: {
          "created_at": string
          "display_name": string | null
          "id": string
          "price_id": string
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "display_name"?: string | null
          "id": string
          "price_id"?: string
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "display_name"?: string | null
          "id"?: string
          "price_id"?: string
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "profile_has_a_plan"
          columns: ["price_id"]
          isOneToOne: false
          referencedRelation: "plans"
          referencedColumns: ["price_id"]
        }]
      }
      "prompt_rules": {
        Row: {
          "covers_negative": boolean
          "created_at": string
          "is_enabled": boolean
          "name": string
          "pattern": string
          "reason": string
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "covers_negative"?: boolean
          "created_at"?: string
          "is_enabled"?: boolean
          "name": string
          "pattern": string
          "reason": string
          "updated_at"?: string
        }
        Update: {
          "covers_negative"?: boolean
          "created_at"?: string
          "is_enabled"?: boolean
          "name"?: string
          "pattern"?: string
          "reason"?: string
          "updated_at"?: string
        }
        Relationships: []
      }
      "render_variants": {
        Row: {
          "asset_id": string
          "created_at": string
          "height": number
          "id": string
          "idx": number
          "image_path": string
          "lost_at": string | null
          "lost_code": string | null
          "owner_id": string
          "render_id": string
          "thumb_path": string
          "width": number
        }
        ComputedFields: never
        Insert: {
          "asset_id": string
          "created_at"?: string
          "height": number
          "id"?: string
          "idx": number
          "image_path": string
          "lost_at"?: string | null
          "lost_code"?: string | null
          "owner_id": string
          "render_id": string
          "thumb_path": string
          "width": number
        }
        Update: {
          "asset_id"?: string
          "created_at"?: string
          "height"?: number
          "id"?: string
          "idx"?: number
          "image_path"?: string
          "lost_at"?: string | null
          "lost_code"?: string | null
          "owner_id"?: string
          "render_id"?: string
          "thumb_path"?: string
          "width"?: number
        }
        Relationships: [{
          foreignKeyName: "variant_belongs_to_a_render_of_its_owner"
          columns: ["owner_id", "render_id"]
          isOneToOne: false
          referencedRelation: "renders"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "variant_belongs_to_a_render_of_its_owner"
          columns: ["owner_id", "render_id"]
          isOneToOne: false
          referencedRelation: "smart_collection_renders"
          referencedColumns: ["owner_id", "render_id"]
        }, {
          foreignKeyName: "variant_has_an_asset_of_its_owner"
          columns: ["owner_id", "asset_id"]
          isOneToOne: false
          referencedRelation: "image_assets"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "renders": {
        Row: {
          "created_at": string
          "id": string
          "job_id": string
          "owner_id": string
          "tags": (string)[]
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "id": string
          "job_id": string
          "owner_id": string
          "tags"?: (string)[]
        }
        Update: {
          "created_at"?: string
          "id"?: string
          "job_id"?: string
          "owner_id"?: string
          "tags"?: (string)[]
        }
        Relationships: [{
          foreignKeyName: "render_belongs_to_a_job_of_its_owner"
          columns: ["owner_id", "job_id"]
          isOneToOne: true
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "saved_list_items": {
        Row: {
          "created_at": string
          "list_id": string
          "listing_id": string
          "owner_id": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "list_id": string
          "listing_id": string
          "owner_id"?: string
        }
        Update: {
          "created_at"?: string
          "list_id"?: string
          "listing_id"?: string
          "owner_id"?: string
        }
        Relationships: [{
          foreignKeyName: "item_belongs_to_a_saved_list_of_its_owner"
          columns: ["owner_id", "list_id"]
          isOneToOne: false
          referencedRelation: "saved_list_covers"
          referencedColumns: ["owner_id", "list_id"]
        }, {
          foreignKeyName: "item_belongs_to_a_saved_list_of_its_owner"
          columns: ["owner_id", "list_id"]
          isOneToOne: false
          referencedRelation: "saved_lists"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "item_is_a_listing"
          columns: ["listing_id"]
          isOneToOne: false
          referencedRelation: "listings"
          referencedColumns: ["id"]
        }]
      }
      "saved_lists": {
        Row: {
          "created_at": string
          "id": string
          "name": string
          "owner_id": string
          "updated_at": string
          "list_cover": {
            "alt_text": string | null
            "height": number | null
            "image_id": string
            "list_id": string
            "listing_id": string
            "owner_id": string
            "thumbhash": string | null
            "variants": Json | null
            "width": number | null
          } | null
        }
        ComputedFields: "list_cover"
        Insert: {
          "created_at"?: string
          "id"?: string
          "name": string
          "owner_id"?: string
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "id"?: string
          "name"?: string
          "owner_id"?: string
          "updated_at"?: string
        }
        Relationships: [{
          foreignKeyName: "saved_list_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "site_credentials": {
        Row: {
          "created_at": string
          "last_used_at": string | null
          "owner_id": string
          "site": string
          "updated_at": string
          "use_count": number
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "last_used_at"?: string | null
          "owner_id": string
          "site": string
          "updated_at"?: string
          "use_count"?: number
        }
        Update: {
          "created_at"?: string
          "last_used_at"?: string | null
          "owner_id"?: string
          "site"?: string
          "updated_at"?: string
          "use_count"?: number
        }
        Relationships: [{
          foreignKeyName: "credential_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "site_policies": {
        Row: {
          "alt_text_length_max": number
          "created_at": string
          "duplicate_images": string
          "fill_photos_max": number
          "fill_providers": (string)[]
          "fill_seconds_max": number
          "generation_count_max": number
          "generation_daily_max": number
          "generation_failed_seconds": number
          "generation_prompt_length_max": number
          "generation_providers": (string)[]
          "generation_rate_max": number
          "generation_seconds_max": number
          "generation_session_rate_max": number
          "generation_side_max": number
          "id": boolean
          "image_aspect_max": number
          "image_bytes_max": number
          "image_megapixels_max": number
          "image_mime_types": (string)[]
          "image_side_min": number
          "images_per_listing_max": number
          "input_unused_seconds": number
          "photo_review_enabled": boolean
          "photo_review_provider": string
          "reservation_seconds": number
          "saved_list_items_max": number
          "saved_lists_max": number
          "session_idle_seconds": number
          "signed_url_seconds_max": number
          "tag_length_max": number
          "tags_max": number
          "undo_seconds": number
          "updated_at": string
          "upload_batch_max": number
        }
        ComputedFields: never
        Insert: {
          "alt_text_length_max"?: number
          "created_at"?: string
          "duplicate_images"?: string
          "fill_photos_max"?: number
          "fill_providers"?: (string)[]
          "fill_seconds_max"?: number
          "generation_count_max"?: number
          "generation_daily_max"?: number
          "generation_failed_seconds"?: number
          "generation_prompt_length_max"?: number
          "generation_providers"?: (string)[]
          "generation_rate_max"?: number
          "generation_seconds_max"?: number
          "generation_session_rate_max"?: number
          "generation_side_max"?: number
          "id"?: boolean
          "image_aspect_max"?: number
          "image_bytes_max"?: number
          "image_megapixels_max"?: number
          "image_mime_types"?: (string)[]
          "image_side_min"?: number
          "images_per_listing_max"?: number
          "input_unused_seconds"?: number
          "photo_review_enabled"?: boolean
          "photo_review_provider"?: string
          "reservation_seconds"?: number
          "saved_list_items_max"?: number
          "saved_lists_max"?: number
          "session_idle_seconds"?: number
          "signed_url_seconds_max"?: number
          "tag_length_max"?: number
          "tags_max"?: number
          "undo_seconds"?: number
          "updated_at"?: string
          "upload_batch_max"?: number
        }
        Update: {
          "alt_text_length_max"?: number
          "created_at"?: string
          "duplicate_images"?: string
          "fill_photos_max"?: number
          "fill_providers"?: (string)[]
          "fill_seconds_max"?: number
          "generation_count_max"?: number
          "generation_daily_max"?: number
          "generation_failed_seconds"?: number
          "generation_prompt_length_max"?: number
          "generation_providers"?: (string)[]
          "generation_rate_max"?: number
          "generation_seconds_max"?: number
          "generation_session_rate_max"?: number
          "generation_side_max"?: number
          "id"?: boolean
          "image_aspect_max"?: number
          "image_bytes_max"?: number
          "image_megapixels_max"?: number
          "image_mime_types"?: (string)[]
          "image_side_min"?: number
          "images_per_listing_max"?: number
          "input_unused_seconds"?: number
          "photo_review_enabled"?: boolean
          "photo_review_provider"?: string
          "reservation_seconds"?: number
          "saved_list_items_max"?: number
          "saved_lists_max"?: number
          "session_idle_seconds"?: number
          "signed_url_seconds_max"?: number
          "tag_length_max"?: number
          "tags_max"?: number
          "undo_seconds"?: number
          "updated_at"?: string
          "upload_batch_max"?: number
        }
        Relationships: []
      }
      "site_policy_events": {
        Row: {
          "actor": string
          "created_at": string
          "data": NonNullable<Json>
          "id": number
        }
        ComputedFields: never
        Insert: {
          "actor": string
          "created_at"?: string
          "data": NonNullable<Json>
          "id"?: never
        }
        Update: {
          "actor"?: string
          "created_at"?: string
          "data"?: NonNullable<Json>
          "id"?: never
        }
        Relationships: []
      }
      "site_rules": {
        Row: {
          "created_at": string
          "is_confirmed": boolean
          "read_on": string
          "rule": string
          "site_id": string
          "source": string
          "source_url": string | null
          "updated_at": string
          "value": NonNullable<Json>
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "is_confirmed"?: boolean
          "read_on": string
          "rule": string
          "site_id": string
          "source": string
          "source_url"?: string | null
          "updated_at"?: string
          "value": NonNullable<Json>
        }
        Update: {
          "created_at"?: string
          "is_confirmed"?: boolean
          "read_on"?: string
          "rule"?: string
          "site_id"?: string
          "source"?: string
          "source_url"?: string | null
          "updated_at"?: string
          "value"?: NonNullable<Json>
        }
        Relationships: [{
          foreignKeyName: "site_rule_belongs_to_a_site"
          columns: ["site_id"]
          isOneToOne: false
          referencedRelation: "sites"
          referencedColumns: ["id"]
        }]
      }
      "sites": {
        Row: {
          "created_at": string
          "id": string
          "is_enabled": boolean
          "name": string
          "position": number
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "id": string
          "is_enabled"?: boolean
          "name": string
          "position"?: number
          "updated_at"?: string
        }
        Update: {
          "created_at"?: string
          "id"?: string
          "is_enabled"?: boolean
          "name"?: string
          "position"?: number
          "updated_at"?: string
        }
        Relationships: []
      }
      "usage_ledger": {
        Row: {
          "adjusted_by": string | null
          "created_at": string
          "id": number
          "idempotency_key": string | null
          "job_id": string | null
          "kind": string
          "owner_id": string
          "reason": string | null
          "units": number
        }
        ComputedFields: never
        Insert: {
          "adjusted_by"?: string | null
          "created_at"?: string
          "id"?: never
          "idempotency_key"?: string | null
          "job_id"?: string | null
          "kind": string
          "owner_id": string
          "reason"?: string | null
          "units": number
        }
        Update: {
          "adjusted_by"?: string | null
          "created_at"?: string
          "id"?: never
          "idempotency_key"?: string | null
          "job_id"?: string | null
          "kind"?: string
          "owner_id"?: string
          "reason"?: string | null
          "units"?: number
        }
        Relationships: [{
          foreignKeyName: "usage_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }, {
          foreignKeyName: "usage_is_of_a_generation_of_its_owner"
          columns: ["owner_id", "job_id"]
          isOneToOne: true
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "variant_specs": {
        Row: {
          "max_side": number
          "quality": number
          "role": string
        }
        ComputedFields: never
        Insert: {
          "max_side": number
          "quality": number
          "role": string
        }
        Update: {
          "max_side"?: number
          "quality"?: number
          "role"?: string
        }
        Relationships: []
      }
    }
    Views: {
      "active_sessions": {
        Row: {
          "created_at": string
          "id": string
          "model": string | null
          "owner_id": string
          "thumbnail_path": string | null
          "title": string
          "updated_at": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string | null
          "id"?: string | null
          "model"?: string | null
          "owner_id"?: string | null
          "thumbnail_path"?: string | null
          "title"?: string | null
          "updated_at"?: string | null
        }
        Update: {
          "created_at"?: string | null
          "id"?: string | null
          "model"?: string | null
          "owner_id"?: string | null
          "thumbnail_path"?: string | null
          "title"?: string | null
          "updated_at"?: string | null
        }
        Relationships: [{
          foreignKeyName: "session_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "credentials": {
        Row: {
          "is_enabled": boolean | null
          "is_set": boolean | null
          "last_used_at": string | null
          "name": string | null
          "site": string | null
          "updated_at": string | null
        }
        ComputedFields: never
        Relationships: []
      }
      "gallery": {
        Row: {
          "alt_text": string | null
          "height": number | null
          "id": string
          "listing_id": string
          "listing_status": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "thumbhash": string | null
          "variants": Json | null
          "width": number | null
        }
        ComputedFields: never
        Relationships: []
      }
      "label_images": {
        Row: {
          "alt_text": string | null
          "height": number | null
          "id": string
          "listing_id": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "state": string
          "thumbhash": string | null
          "width": number | null
        }
        ComputedFields: never
        Insert: {
          "alt_text"?: string | null
          "height"?: number | null
          "id"?: string | null
          "listing_id"?: string | null
          "original_path"?: string | null
          "owner_id"?: string | null
          "position"?: number | null
          "state"?: string | null
          "thumbhash"?: string | null
          "width"?: number | null
        }
        Update: {
          "alt_text"?: string | null
          "height"?: number | null
          "id"?: string | null
          "listing_id"?: string | null
          "original_path"?: string | null
          "owner_id"?: string | null
          "position"?: number | null
          "state"?: string | null
          "thumbhash"?: string | null
          "width"?: number | null
        }
        Relationships: [{
          foreignKeyName: "image_belongs_to_a_listing_of_its_owner"
          columns: ["owner_id", "listing_id"]
          isOneToOne: false
          referencedRelation: "listings"
          referencedColumns: ["owner_id", "id"]
        }]
      }
      "listing_covers": {
        Row: {
          "alt_text": string | null
          "height": number | null
          "image_id": string
          "listing_id": string
          "owner_id": string
          "thumbhash": string | null
          "variants": Json | null
          "width": number | null
        }
        ComputedFields: never
        Relationships: []
      }
      "listing_csv": {
        Row: {
          "attributes": string | null
          "brand": string | null
          "category": string | null
          "color": string | null
          "condition": string | null
          "currency": string | null
          "description": string | null
          "images": string | null
          "price": string | null
          "quantity": string | null
          "size": string | null
          "sku": string | null
          "status": string
          "title": string | null
        }
        ComputedFields: never
        Insert: {
          "attributes"?: string | null
          "brand"?: string | null
          "category"?: string | null
          "color"?: string | null
          "condition"?: string | null
          "currency"?: string | null
          "description"?: string | null
          "images"?: string | null
          "price"?: string | null
          "quantity"?: string | null
          "size"?: string | null
          "sku"?: string | null
          "status"?: string | null
          "title"?: string | null
        }
        Update: {
          "attributes"?: string | null
          "brand"?: string | null
          "category"?: string | null
          "color"?: string | null
          "condition"?: string | null
          "currency"?: string | null
          "description"?: string | null
          "images"?: string | null
          "price"?: string | null
          "quantity"?: string | null
          "size"?: string | null
          "sku"?: string | null
          "status"?: string | null
          "title"?: string | null
        }
        Relationships: []
      }
      "media_tray": {
        Row: {
          "can_retry": boolean | null
          "created_at": string
          "duplicate_of": string | null
          "file_name": string
          "id": string
          "is_label": boolean
          "listing_id": string
          "owner_id": string
          "position": number | null
          "reason": string | null
          "reason_code": string | null
          "replaces_id": string | null
          "restorable_until": string | null
          "status": string | null
          "updated_at": string
        }
        ComputedFields: never
        Relationships: [{
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "label_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "listing_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "duplicate_is_of_the_same_listing"
          columns: ["duplicate_of", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "media_tray"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "image_belongs_to_a_listing_of_its_owner"
          columns: ["owner_id", "listing_id"]
          isOneToOne: false
          referencedRelation: "listings"
          referencedColumns: ["owner_id", "id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "label_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "listing_images"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }, {
          foreignKeyName: "replaced_image_is_of_the_same_listing"
          columns: ["replaces_id", "listing_id", "owner_id"]
          isOneToOne: false
          referencedRelation: "media_tray"
          referencedColumns: ["id", "listing_id", "owner_id"]
        }]
      }
      "saved_list_covers": {
        Row: {
          "alt_text": string | null
          "height": number | null
          "image_id": string
          "list_id": string
          "listing_id": string
          "owner_id": string
          "thumbhash": string | null
          "variants": Json | null
          "width": number | null
        }
        ComputedFields: never
        Relationships: [{
          foreignKeyName: "saved_list_belongs_to_a_profile"
          columns: ["owner_id"]
          isOneToOne: false
          referencedRelation: "profiles"
          referencedColumns: ["id"]
        }]
      }
      "smart_collection_renders": {
        Row: {
          "collection_id": string
          "created_at": string
          "image_path": string | null
          "job_id": string
          "mode": string
          "model": string | null
          "owner_id": string
          "render_id": string
          "room_type": string | null
          "session_id": string | null
          "style": string | null
          "tags": (string)[]
          "thumb_path": string | null
        }
        ComputedFields: never
        Relationships: [{
          foreignKeyName: "render_belongs_to_a_job_of_its_owner"
          columns: ["owner_id", "job_id"]
          isOneToOne: true
          referencedRelation: "generation_jobs"
          referencedColumns: ["owner_id", "id"]
        }]
      }
    }
    Functions: {
      "add_asset": {
        Args: {
          "path": string
          "role"?: string
        }
        Returns: {
          "bucket": string
          "byte_size": number | null
          "created_at": string
          "height": number | null
          "id": string
          "idle_since": string | null
          "job_id": string | null
          "mime_type": string | null
          "owner_id": string
          "path": string
          "role": string
          "sha256": string | null
          "width": number | null
        }
        SetofOptions: {
          from: "*"
          to: "image_assets"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "adjust_credits": {
        Args: {
          "amount": number
          "idempotency_key"?: string
          "owner_id": string
          "reason": string
        }
        Returns: {
          "adjusted_by": string | null
          "created_at": string
          "id": number
          "idempotency_key": string | null
          "job_id": string | null
          "kind": string
          "owner_id": string
          "reason": string | null
          "units": number
        }
        SetofOptions: {
          from: "*"
          to: "usage_ledger"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "cancel_fill": {
        Args: {
          "fill_id": string
        }
        Returns: {
          "applied": NonNullable<Json>
          "completed_at": string | null
          "created_at": string
          "error": string | null
          "error_code": string | null
          "fields": (string)[]
          "id": string
          "idempotency_key": string | null
          "is_retryable": boolean
          "kept": (string)[]
          "listing_id": string | null
          "model": string | null
          "old_values": NonNullable<Json>
          "overwrite": boolean
          "owner_id": string
          "provider": string
          "request_digest": string | null
          "result": Json | null
          "skipped": NonNullable<Json>
          "started_at": string | null
          "status": string
          "submitted_at": string | null
          "undone_at": string | null
          "updated_at": string
          "usage": Json | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_fills"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "cancel_generation": {
        Args: {
          "job_id": string
        }
        Returns: {
          "cancel_requested_at": string | null
          "completed_at": string | null
          "cost": number | null
          "created_at": string
          "deleted_at": string | null
          "duration_ms": number | null
          "error": string | null
          "error_code": string | null
          "id": string
          "idempotency_key": string | null
          "input1_path": string | null
          "input2_path": string | null
          "is_retryable": boolean
          "mask_asset_id": string | null
          "mode": string
          "model": string | null
          "negative_prompt": string | null
          "owner_id": string
          "params": NonNullable<Json>
          "parent_job_id": string | null
          "prediction_id": string | null
          "progress": number
          "prompt": string | null
          "provider": string
          "render_id": string
          "replay_job_ids": (string)[]
          "request_digest": string | null
          "retry_of_id": string | null
          "room_type": string | null
          "session_id": string | null
          "source_asset_id": string | null
          "started_at": string | null
          "status": string
          "style": string | null
          "submitted_at": string | null
          "updated_at": string
        }
        SetofOptions: {
          from: "*"
          to: "generation_jobs"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "cover": {
        Args: {
          "": Database["public"]['Tables']["listings"]['Row']
        }
        Returns: {
          error: true
        } & "the function public.cover with parameter or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache"
        SetofOptions: {
          from: "listings"
          to: "listing_covers"
          isOneToOne: true
          isSetofReturn: true
        }
      }
      "delete_branch": {
        Args: {
          "job_id": string
        }
        Returns: string[]
      }
      "delete_credential": {
        Args: {
          "site": string
        }
        Returns: Json
      }
      "export_listing": {
        Args: {
          "listing_id": string
          "site": string
        }
        Returns: Json
      }
      "gallery": {
        Args: {
          "": Database["public"]['Tables']["listings"]['Row']
        }
        Returns: {
          error: true
        } & "the function public.gallery with parameter or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache"
        SetofOptions: {
          from: "listings"
          to: "gallery"
          isOneToOne: false
          isSetofReturn: true
        }
      }
      "gallery_as_of": {
        Args: {
          "at": string
          "listing_id": string
        }
        Returns: {
          "alt_text": string
          "image_id": string
          "is_public": boolean
          "position": number
          "tags": (string)[]
        }[]
      }
      "import_csv": {
        Args: {
          "dry_run"?: boolean
          "file": string
        }
        Returns: Json
      }
      "import_listings": {
        Args: {
          "dry_run"?: boolean
          "rows": Json
        }
        Returns: Json
      }
      "list_cover": {
        Args: {
          "": Database["public"]['Tables']["saved_lists"]['Row']
        }
        Returns: {
          error: true
        } & "the function public.list_cover with parameter or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache"
        SetofOptions: {
          from: "saved_lists"
          to: "saved_list_covers"
          isOneToOne: true
          isSetofReturn: true
        }
      }
      "list_renders": {
        Args: {
          "after"?: string
          "collection_id"?: string
          "made_before"?: string
          "made_from"?: string
          "mode"?: string
          "model"?: string
          "page_size"?: number
          "provider"?: string
          "room_type"?: string
          "session_id"?: string
          "style"?: string
        }
        Returns: Json
      }
      "listing_history": {
        Args: {
          "listing_id": string
        }
        Returns: {
          "actor": string
          "created_at": string
          "data": Json
          "event": string
          "id": number
          "image_id": string
          "summary": string
        }[]
      }
      "media_rules": {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      "publish_listing": {
        Args: {
          "listing_id": string
        }
        Returns: Json
      }
      "remove_image": {
        Args: {
          "image_id": string
        }
        Returns: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_images"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "reorder_images": {
        Args: {
          "image_ids": (string)[]
          "listing_id": string
        }
        Returns: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }[]
        SetofOptions: {
          from: "*"
          to: "listing_images"
          isOneToOne: false
          isSetofReturn: true
        }
      }
      "replay_branch": {
        Args: {
          "job_id": string
        }
        Returns: {
          "cancel_requested_at": string | null
          "completed_at": string | null
          "cost": number | null
          "created_at": string
          "deleted_at": string | null
          "duration_ms": number | null
          "error": string | null
          "error_code": string | null
          "id": string
          "idempotency_key": string | null
          "input1_path": string | null
          "input2_path": string | null
          "is_retryable": boolean
          "mask_asset_id": string | null
          "mode": string
          "model": string | null
          "negative_prompt": string | null
          "owner_id": string
          "params": NonNullable<Json>
          "parent_job_id": string | null
          "prediction_id": string | null
          "progress": number
          "prompt": string | null
          "provider": string
          "render_id": string
          "replay_job_ids": (string)[]
          "request_digest": string | null
          "retry_of_id": string | null
          "room_type": string | null
          "session_id": string | null
          "source_asset_id": string | null
          "started_at": string | null
          "status": string
          "style": string | null
          "submitted_at": string | null
          "updated_at": string
        }
        SetofOptions: {
          from: "*"
          to: "generation_jobs"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "request_fill": {
        Args: {
          "fields"?: (string)[]
          "idempotency_key"?: string
          "listing_id": string
          "overwrite"?: boolean
          "provider"?: string
        }
        Returns: {
          "applied": NonNullable<Json>
          "completed_at": string | null
          "created_at": string
          "error": string | null
          "error_code": string | null
          "fields": (string)[]
          "id": string
          "idempotency_key": string | null
          "is_retryable": boolean
          "kept": (string)[]
          "listing_id": string | null
          "model": string | null
          "old_values": NonNullable<Json>
          "overwrite": boolean
          "owner_id": string
          "provider": string
          "request_digest": string | null
          "result": Json | null
          "skipped": NonNullable<Json>
          "started_at": string | null
          "status": string
          "submitted_at": string | null
          "undone_at": string | null
          "updated_at": string
          "usage": Json | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_fills"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "reserve_replacement": {
        Args: {
          "file": Json
          "image_id": string
        }
        Returns: Json
      }
      "reserve_uploads": {
        Args: {
          "files": Json
          "listing_id": string
        }
        Returns: Json
      }
      "restore_image": {
        Args: {
          "image_id": string
        }
        Returns: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_images"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "restore_session": {
        Args: {
          "session_id": string
        }
        Returns: {
          "archived_at": string | null
          "created_at": string
          "id": string
          "model": string | null
          "owner_id": string
          "thumbnail_path": string | null
          "title": string
          "updated_at": string
        }
        SetofOptions: {
          from: "*"
          to: "image_sessions"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "retry_generation": {
        Args: {
          "job_id": string
          "new_seed"?: boolean
        }
        Returns: {
          "cancel_requested_at": string | null
          "completed_at": string | null
          "cost": number | null
          "created_at": string
          "deleted_at": string | null
          "duration_ms": number | null
          "error": string | null
          "error_code": string | null
          "id": string
          "idempotency_key": string | null
          "input1_path": string | null
          "input2_path": string | null
          "is_retryable": boolean
          "mask_asset_id": string | null
          "mode": string
          "model": string | null
          "negative_prompt": string | null
          "owner_id": string
          "params": NonNullable<Json>
          "parent_job_id": string | null
          "prediction_id": string | null
          "progress": number
          "prompt": string | null
          "provider": string
          "render_id": string
          "replay_job_ids": (string)[]
          "request_digest": string | null
          "retry_of_id": string | null
          "room_type": string | null
          "session_id": string | null
          "source_asset_id": string | null
          "started_at": string | null
          "status": string
          "style": string | null
          "submitted_at": string | null
          "updated_at": string
        }
        SetofOptions: {
          from: "*"
          to: "generation_jobs"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "retry_image": {
        Args: {
          "image_id": string
        }
        Returns: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_images"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "session_timeline": {
        Args: {
          "session_id": string
        }
        Returns: Json
      }
      "set_credential": {
        Args: {
          "secret": string
          "site": string
        }
        Returns: Json
      }
      "set_label": {
        Args: {
          "image_id": string
          "is_label": boolean
        }
        Returns: {
          "alt_text": string | null
          "byte_size": number
          "correlation_id": string | null
          "created_at": string
          "deleted_at": string | null
          "duplicate_of": string | null
          "error": string | null
          "error_code": string | null
          "etag": string | null
          "file_name": string
          "height": number | null
          "id": string
          "is_label": boolean
          "is_retryable": boolean
          "listing_id": string
          "mime_type": string
          "original_path": string
          "owner_id": string
          "position": number | null
          "ready_at": string | null
          "removed_position": number | null
          "replaces_id": string | null
          "review_provider": string | null
          "review_reason": string | null
          "review_state": string
          "reviewed_at": string | null
          "sha256": string | null
          "state": string
          "tags": (string)[]
          "thumbhash": string | null
          "trace_parent": string | null
          "updated_at": string
          "upload_expires_at": string
          "uploaded_at": string | null
          "width": number | null
          "withdrawn_at": string | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_images"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "submit_generation": {
        Args: {
          "idempotency_key"?: string
          "input1_path"?: string
          "input2_path"?: string
          "mask_asset_id"?: string
          "mode": string
          "model"?: string
          "negative_prompt"?: string
          "params"?: Json
          "parent_job_id"?: string
          "prompt"?: string
          "provider"?: string
          "room_type"?: string
          "session_id"?: string
          "source_asset_id"?: string
          "style"?: string
        }
        Returns: {
          "cancel_requested_at": string | null
          "completed_at": string | null
          "cost": number | null
          "created_at": string
          "deleted_at": string | null
          "duration_ms": number | null
          "error": string | null
          "error_code": string | null
          "id": string
          "idempotency_key": string | null
          "input1_path": string | null
          "input2_path": string | null
          "is_retryable": boolean
          "mask_asset_id": string | null
          "mode": string
          "model": string | null
          "negative_prompt": string | null
          "owner_id": string
          "params": NonNullable<Json>
          "parent_job_id": string | null
          "prediction_id": string | null
          "progress": number
          "prompt": string | null
          "provider": string
          "render_id": string
          "replay_job_ids": (string)[]
          "request_digest": string | null
          "retry_of_id": string | null
          "room_type": string | null
          "session_id": string | null
          "source_asset_id": string | null
          "started_at": string | null
          "status": string
          "style": string | null
          "submitted_at": string | null
          "updated_at": string
        }
        SetofOptions: {
          from: "*"
          to: "generation_jobs"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "undo_fill": {
        Args: {
          "fill_id": string
        }
        Returns: {
          "applied": NonNullable<Json>
          "completed_at": string | null
          "created_at": string
          "error": string | null
          "error_code": string | null
          "fields": (string)[]
          "id": string
          "idempotency_key": string | null
          "is_retryable": boolean
          "kept": (string)[]
          "listing_id": string | null
          "model": string | null
          "old_values": NonNullable<Json>
          "overwrite": boolean
          "owner_id": string
          "provider": string
          "request_digest": string | null
          "result": Json | null
          "skipped": NonNullable<Json>
          "started_at": string | null
          "status": string
          "submitted_at": string | null
          "undone_at": string | null
          "updated_at": string
          "usage": Json | null
        }
        SetofOptions: {
          from: "*"
          to: "listing_fills"
          isOneToOne: true
          isSetofReturn: false
        }
      }
      "usage_summary": {
        Args: Record<PropertyKey, never>
        Returns: Json
      }
      "webhook_replicate": {
        Args: {
          "": Json
        }
        Returns: Json
      }
    }
    Enums: {
      [_ in never]: never
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}

type DatabaseWithoutInternals = Omit<Database, '__InternalSupabase'>

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
  ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
      Row: infer R
    }
    ? R
    : never
  : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Insert: infer I
    }
    ? I
    : never
  : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Update: infer U
    }
    ? U
    : never
  : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
  ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
  : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
  ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
  : never

export const Constants = {
  "public": {
          Enums: {
            
          }
        }
} as const
