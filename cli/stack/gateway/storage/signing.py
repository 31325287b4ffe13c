"""Signed URLs: tokens that let anybody who has one read, or write, exactly one object until they expire."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.db import Caller
from cli.stack.gateway.storage.errors import StorageError, invalid_request
from cli.stack.gateway.storage.incoming import decode_metadata
from cli.stack.gateway.storage.limits import MAX_PATHS, check_key
from cli.stack.gateway.storage.objects import Upload, probe_upload, receive
from cli.stack.gateway.storage.service import Storage, find_object, json_body, whole_number
from cli.stack.gateway.tokens import Claims, TokenError

_MAX_EXPIRES_IN = 10 * 365 * 24 * 3600


async def sign_download(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    bucket, name = request.path_params["bucket"], check_key(request.path_params["path"])
    expires_in = _expires_in(await json_body(request))
    async with storage.db.as_caller(caller, "storage.object.sign") as connection:
        await find_object(connection, bucket, name)
    return JSONResponse({"signedURL": _signed_url(storage, bucket, name, expires_in)})


async def sign_downloads(storage: Storage, request: Request) -> Response:
    """Sign many; what the caller cannot read gets an error in its place, and the answer is 200 all the
    same."""
    caller = storage.caller(request)
    bucket = request.path_params["bucket"]
    body = await json_body(request, paths=list)
    expires_in = _expires_in(body)
    paths = body["paths"]
    if not 1 <= len(paths) <= MAX_PATHS or not all(isinstance(path, str) for path in paths):
        raise invalid_request(f"body/paths must be a list of 1 to {MAX_PATHS} strings")
    async with storage.db.as_caller(caller, "storage.object.sign_many") as connection:
        cursor = await connection.execute(
            "select name from storage.objects where bucket_id = %s and name = any(%s)", (bucket, paths)
        )
        readable = {row["name"] for row in await cursor.fetchall()}
    error = "Either the object does not exist or you do not have access to it"
    return JSONResponse(
        [
            {
                "error": None if path in readable else error,
                "path": path,
                "signedURL": _signed_url(storage, bucket, path, expires_in) if path in readable else None,
            }
            for path in paths
        ]
    )


async def sign_upload(storage: Storage, request: Request) -> Response:
    """A token to upload to one name, if the caller could upload there now."""
    caller = storage.caller(request)
    bucket, name = request.path_params["bucket"], check_key(request.path_params["path"])
    upsert = request.headers.get("x-upsert") == "true"
    length = request.headers.get("content-length", "")
    async with storage.db.as_caller(caller, "storage.object.sign_upload_url") as connection:
        await probe_upload(
            connection,
            caller,
            bucket,
            name,
            upsert=upsert,
            metadata={
                "mimetype": request.headers.get("content-type"),
                "contentLength": int(length) if length.isdigit() else None,
            },
            user_metadata=decode_metadata(request.headers.get("x-metadata")),
        )
    claims = {"owner": caller.owner, "url": f"{bucket}/{name}", "upsert": upsert, "scope": "upload"}
    token = storage.tokens.sign(claims, storage.settings.signed_upload_exp)
    return JSONResponse({"url": f"/object/upload/sign/{bucket}/{name}?token={token}", "token": token})


async def upload_signed(storage: Storage, request: Request) -> Response:
    """Redeem an upload token: written as service_role for the owner named in it, as often as it is valid."""
    claims = verify_signature(storage, request, "upload")
    owner = claims.get("owner")
    caller = Caller({"role": "service_role", "sub": owner} if owner else {"role": "service_role"})
    upload = Upload(
        caller,
        request.path_params["bucket"],
        request.path_params["path"],
        operation="storage.object.upload_signed",
        upsert=claims.get("upsert") is True,
        under_policies=False,
    )
    row = await receive(storage, request, upload)
    return JSONResponse({"Key": f"{row['bucket_id']}/{row['name']}"})


def verify_signature(storage: Storage, request: Request, scope: str) -> Claims:
    """The claims of the URL's token if it was made for this object and this scope; raises StorageError
    400."""
    token = request.query_params.get("token")
    if not token:
        raise invalid_request("querystring must have required property 'token'")
    try:
        claims = storage.tokens.verify(token)
    except TokenError as error:
        raise StorageError(400, "InvalidJWT", str(error)) from None
    if claims.get("scope") != scope:
        raise StorageError(400, "InvalidSignature", f"Token is not scoped for {scope}")
    if claims.get("url") != f"{request.path_params['bucket']}/{request.path_params['path']}":
        raise StorageError(400, "InvalidSignature", "Invalid signature")
    return claims


def _expires_in(body: dict[str, Any]) -> int:
    if "expiresIn" not in body:
        raise invalid_request("body must have required property 'expiresIn'")
    return whole_number(body["expiresIn"], "body/expiresIn", minimum=1, maximum=_MAX_EXPIRES_IN)


def _signed_url(storage: Storage, bucket: str, name: str, expires_in: int) -> str:
    url = f"{bucket}/{name}"
    token = storage.tokens.sign({"url": url, "scope": "download"}, expires_in)
    return f"/object/sign/{url}?token={token}"


def routes(storage: Storage) -> list[Route]:
    endpoint = storage.endpoint
    return [
        Route("/object/upload/sign/{bucket}/{path:path}", endpoint(sign_upload), methods=["POST"]),
        Route("/object/upload/sign/{bucket}/{path:path}", endpoint(upload_signed), methods=["PUT"]),
        Route("/object/sign/{bucket}", endpoint(sign_downloads), methods=["POST"]),
        Route("/object/sign/{bucket}/{path:path}", endpoint(sign_download), methods=["POST"]),
    ]
