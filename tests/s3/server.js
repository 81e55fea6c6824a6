'use strict';

// A real S3 server for tests: s3rver, made as strict as current S3 servers are: signatures (which s3rver
// only checks for version 2) are compared with what AWS's own signer computes, body hashes are checked,
// conditional writes honoured; with faults on request. Listens on loopback, on a free port, until its standard
// input closes, so it cannot outlive the test that started it.
//
//   node --openssl-legacy-provider server.js DIRECTORY
//
// prints its port when it is ready; keys S3RVER / S3RVER, bucket "tide". (s3rver makes its list tokens with DES.)
//
// POST /-/faults?kind=KIND&count=N&method=PUT&contains=TEXT arms N faults for matching requests:
//   slowdown   answer 503 SlowDown        lost    carry out, then close without an answer
//   full       answer 507                 flip    change one byte of the answer's body
//   hang       never answer
// POST /-/conditional?honour=0|1          whether If-None-Match is honoured, as some servers do not

const crypto = require('crypto');
const { Readable } = require('stream');
const { Sha256 } = require('@aws-crypto/sha256-js');
const { HttpRequest } = require('@smithy/protocol-http');
const { SignatureV4 } = require('@smithy/signature-v4');
const { escapeUriPath } = require('@smithy/util-uri-escape');
const S3rver = require('s3rver');

const KEYS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' };

let honourConditions = true;
let faults = [];
const locks = new Map();

function respondError(ctx, status, code, message) {
  ctx.status = status;
  ctx.type = 'application/xml';
  ctx.body =
    '<?xml version="1.0" encoding="UTF-8"?>\n' +
    `<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
}

function takeFault(ctx) {
  for (const fault of faults) {
    if (fault.count <= 0) continue;
    if (fault.method && fault.method !== ctx.method) continue;
    if (fault.contains && !decodeURIComponent(ctx.path).includes(fault.contains)) continue;
    fault.count -= 1;
    return fault.kind;
  }
  return null;
}

// One writer of a key at a time, so that "look, then write" is atomic.
async function withLock(name, action) {
  const before = locks.get(name) || Promise.resolve();
  const mine = before.catch(() => {}).then(action);
  locks.set(name, mine);
  try {
    return await mine;
  } finally {
    if (locks.get(name) === mine) locks.delete(name);
  }
}

// Signs the request anew with AWS's signer, from its decoded path and query, and compares.
async function checkSignature(ctx, next) {
  const header = ctx.get('authorization');
  const match = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(header);
  if (!match) return respondError(ctx, 403, 'AccessDenied', 'Access Denied');
  const [, accessKeyId, , region, signedHeaders, signature] = match;
  if (accessKeyId !== KEYS.accessKeyId) {
    return respondError(ctx, 403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.');
  }
  const headers = {};
  for (const name of signedHeaders.split(';')) headers[name] = ctx.get(name);
  for (const name of Object.keys(ctx.headers)) {
    if ((name.startsWith('x-amz-') || name === 'host') && !(name in headers)) {
      return respondError(ctx, 403, 'AccessDenied', `There were headers present in the request which were not signed: ${name}`);
    }
  }
  const [rawPath, rawQuery] = ctx.req.url.split('?');
  const query = {};
  for (const pair of rawQuery ? rawQuery.split('&') : []) {
    const [name, value] = pair.split('=');
    query[decodeURIComponent(name)] = decodeURIComponent(value || '');
  }
  const at = ctx.get('x-amz-date').replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const signer = new SignatureV4({
    service: 's3', region, credentials: KEYS, sha256: Sha256, uriEscapePath: false, applyChecksum: false,
  });
  const signed = await signer.sign(
    new HttpRequest({ method: ctx.method, path: escapeUriPath(decodeURIComponent(rawPath)), query, headers }),
    { signingDate: new Date(at) });
  if (!signed.headers.authorization.endsWith(`Signature=${signature}`)) {
    return respondError(ctx, 403, 'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided.');
  }
  return next();
}

async function readAll(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function strictPut(ctx, next) {
  const [, bucket, ...rest] = decodeURIComponent(ctx.path).split('/');
  const key = rest.join('/');
  const isObject = ctx.method === 'PUT' && key !== '' && !('partNumber' in ctx.query);
  if (!isObject) return next();
  await withLock(ctx.path, async () => {
    const conditional = honourConditions && ctx.get('if-none-match') === '*';
    if (conditional && (await ctx.store.existsObject(bucket, key))) {
      ctx.req.resume();
      respondError(ctx, 412, 'PreconditionFailed', 'At least one of the preconditions did not hold');
      return;
    }
    await next();
    if (ctx.status !== 200) return;
    const stored = await readAll((await ctx.store.getObject(bucket, key)).content);
    const hash = crypto.createHash('sha256').update(stored).digest('hex');
    if (hash !== ctx.get('x-amz-content-sha256')) {
      await ctx.store.deleteObject(bucket, key);
      respondError(ctx, 400, 'XAmzContentSHA256Mismatch', 'The body is not what was signed');
    }
  });
}

async function withFaults(ctx, next) {
  if (ctx.path === '/-/faults') {
    faults = [{ ...ctx.query, count: Number(ctx.query.count) }];
    ctx.status = 204;
    return;
  }
  if (ctx.path === '/-/conditional') {
    honourConditions = ctx.query.honour === '1';
    ctx.status = 204;
    return;
  }
  const kind = takeFault(ctx);
  if (kind === 'slowdown') {
    ctx.req.resume();
    respondError(ctx, 503, 'SlowDown', 'Please reduce your request rate.');
    return;
  }
  if (kind === 'full') {
    ctx.req.resume();
    respondError(ctx, 507, 'XMinioStorageFull', 'Storage backend has reached its minimum free drive threshold.');
    return;
  }
  if (kind === 'hang') {
    await new Promise(() => {});
  }
  await next();
  if (kind === 'lost') {
    ctx.respond = false;
    ctx.req.socket.destroy();
  }
  if (kind === 'flip' && ctx.body) {
    const body = await readAll(ctx.body instanceof Readable ? ctx.body : Readable.from([ctx.body]));
    if (body.length > 0) body[body.length >> 1] ^= 1;
    ctx.body = body;
  }
}

async function main() {
  const directory = process.argv[2];
  if (!directory) throw new Error('usage: node server.js DIRECTORY');
  const server = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory,
    vhostBuckets: false,
    configureBuckets: [{ name: 'tide' }],
  });
  server.silent = true;
  server.middleware.unshift(withFaults, checkSignature, strictPut);
  const { port } = await server.run();
  process.stdout.write(`${port}\n`);
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

main().catch(error => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
