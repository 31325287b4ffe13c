// The gateway as supabase-js sees it. Prints {"checks": n} when every expectation held.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'

const { API_URL, ANON_KEY, SERVICE_ROLE_KEY, BUCKET } = process.env
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  // Node 20 has no WebSocket, and the client asks for one even where nothing subscribes.
  realtime: { transport: globalThis.WebSocket ?? class {} },
}
const client = createClient(API_URL, ANON_KEY, options)
const service = createClient(API_URL, SERVICE_ROLE_KEY, options)

let checks = 0
const check = (condition, message) => {
  assert.ok(condition, message)
  checks += 1
}
const ok = ({ data, error }) => {
  assert.equal(error, null, JSON.stringify(error))
  checks += 1
  return data
}
const failed = ({ error }) => {
  assert.ok(error, 'an error was expected')
  checks += 1
  return error
}
const text = (blob) => blob.text()

// Auth
const email = `${randomUUID()}@example.com`
const password = 'correct horse'
const { user } = ok(await client.auth.signUp({ email, password, options: { data: { name: 'Ada' } } }))
check(user.user_metadata.name === 'Ada')
check(failed(await client.auth.signUp({ email, password })).code === 'user_already_exists')
const weak = failed(await client.auth.signUp({ email: `x${email}`, password: '1' }))
check(weak.code === 'weak_password' && weak.reasons[0] === 'length')
check(failed(await client.auth.signInWithPassword({ email, password: 'x' })).code === 'invalid_credentials')
check(failed(await client.auth.signInAnonymously()).code === 'anonymous_provider_disabled')
ok(await client.auth.signInWithPassword({ email, password }))
check(ok(await client.auth.getUser()).user.id === user.id)
check(ok(await client.auth.refreshSession()).session.user.id === user.id)
check(ok(await client.auth.updateUser({ data: { colour: 'red' } })).user.user_metadata.colour === 'red')
check(ok(await client.auth.getClaims()).claims.sub === user.id)
const page = ok(await service.auth.admin.listUsers({ page: 1, perPage: 1 }))
check(page.users.length === 1 && page.total >= 1)
check(failed(await client.auth.admin.listUsers()).code === 'not_admin')

// Storage
const files = client.storage.from(BUCKET)
const folder = `${user.id}/${randomUUID()}`
const name = (file) => `${folder}/${file}`
const png = { contentType: 'image/png', cacheControl: '60', metadata: { shot: 1 } }
check(ok(await files.upload(name('a b.png'), Buffer.from('buffer'), png)).path === name('a b.png'))
check(ok(await files.upload(name('blob.png'), new Blob(['blob'], { type: 'image/png' }))).id)
check(failed(await files.upload(name('a b.png'), 'again', png)).statusCode === '409')
ok(await files.upload(name('a b.png'), 'upserted', { ...png, upsert: true }))
check((await text(ok(await files.download(name('a b.png'))))) === 'upserted')
ok(await files.update(name('a b.png'), 'updated', png))
const info = ok(await files.info(name('a b.png')))
check(info.size === 7 && info.contentType === 'image/png' && info.metadata.shot === 1)
check(ok(await files.exists(name('a b.png'))) === true)
check((await files.exists(name('nothing'))).data === false)
const listed = ok(await files.list(folder, { sortBy: { column: 'name', order: 'desc' } }))
assert.deepEqual(listed.map((each) => each.name), ['blob.png', 'a b.png'])
ok(await files.listV2({ prefix: `${folder}/`, with_delimiter: true }))
ok(await files.move(name('blob.png'), name('sub/moved.png')))
ok(await files.copy(name('sub/moved.png'), name('copied.png')))
const signed = ok(await files.createSignedUrl(name('a b.png'), 60, { download: 'x.png' }))
check((await (await fetch(signed.signedUrl)).text()) === 'updated')
const many = ok(await files.createSignedUrls([name('copied.png'), name('nothing')], 60))
check(many[0].signedUrl && many[1].error)
const ticket = ok(await files.createSignedUploadUrl(name('ticket.png')))
ok(await files.uploadToSignedUrl(ticket.path, ticket.token, 'ticket', png))
check((await text(ok(await files.download(name('ticket.png'))))) === 'ticket')
check(failed(await files.upload('elsewhere/a.png', 'x', png)).statusCode === '403')
check(failed(await files.download('elsewhere/a.png')).message)
const removed = ok(await files.remove([name('a b.png'), name('copied.png'), name('nothing')]))
check(removed.length === 2)
check(failed(await client.storage.createBucket(randomUUID())).statusCode === '403')

// Buckets
const bucket = randomUUID()
ok(await service.storage.createBucket(bucket, { public: true, fileSizeLimit: '1MB', allowedMimeTypes: ['image/*'] }))
check(ok(await service.storage.getBucket(bucket)).file_size_limit === 1000000)
check(ok(await service.storage.listBuckets()).some((each) => each.id === bucket))
ok(await service.storage.updateBucket(bucket, { public: false }))
ok(await service.storage.emptyBucket(bucket))
ok(await service.storage.deleteBucket(bucket))

ok(await client.auth.signOut())
check((await client.auth.getUser()).error)
console.log(JSON.stringify({ checks }))
