#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# labels: interop
# timeout: 300
#
# Strangers use the region's S3 and STS: Debian's awscli and boto3, through the profile that
# `vmferry region env` prints. Then the region is killed while boto3 uploads: what was acknowledged
# must be there after the restart.
set -euo pipefail

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1" >&2; exit 1; }
[ -x /usr/bin/aws ] || skip "awscli is not installed"
/usr/bin/python3 -c 'import boto3' 2> /dev/null || skip "python3-boto3 is not installed"

work=$(mktemp -d)
export VMFERRY_STATE=$work/state
finish() {
  "$VMFERRY_BIN" region stop > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
"$VMFERRY_BIN" region start --port 0 > "$work/start" 2>&1 || { cat "$work/start"; fail "start"; }
[ -e "$VMFERRY_STATE/region/region.json" ] || skip "this build has no region command"
environment=$("$VMFERRY_BIN" region env)
eval "$environment"
aws() { /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

case "$environment" in
  *"$(sed -n 's/^aws_secret_access_key = //p' "$AWS_SHARED_CREDENTIALS_FILE")"*)
    fail "region env prints the secret key" ;;
esac

# expect CODE command...: the command fails and names the code.
expect() {
  local code=$1
  shift
  if "$@" > "$work/out" 2>&1; then fail "$* succeeded instead of failing with $code"; fi
  grep -q "$code" "$work/out" || { cat "$work/out"; fail "$* did not fail with $code"; }
}

echo "== awscli"
[[ $(aws sts get-caller-identity --query Arn --output text) == *:user/vmferry ]] || fail "sts"
aws s3 mb s3://interop-bucket
head -c 3000000 /dev/urandom > "$work/small"
head -c 21000000 /dev/urandom > "$work/large"
aws s3 cp "$work/small" "s3://interop-bucket/a b+c/%41ü" --no-progress
aws s3 cp "$work/large" s3://interop-bucket/large --no-progress
aws s3 cp "s3://interop-bucket/a b+c/%41ü" "$work/small2" --no-progress
aws s3 cp s3://interop-bucket/large "$work/large2" --no-progress
cmp "$work/small" "$work/small2"
cmp "$work/large" "$work/large2"
[[ $(aws s3 ls s3://interop-bucket/) == *'PRE a b+c/'* ]] || fail "ls does not show the prefix"
mkdir "$work/tree"
for i in $(seq 12); do echo "$i" > "$work/tree/$i"; done
aws s3 sync "$work/tree" s3://interop-bucket/tree --no-progress > /dev/null
[ "$(aws s3 sync "$work/tree" s3://interop-bucket/tree)" = "" ] || fail "second sync copies again"
expect BucketNotEmpty aws s3 rb s3://interop-bucket
expect NoSuchBucket aws s3 ls s3://no-such-bucket
expect NotImplemented aws s3api put-bucket-versioning --bucket interop-bucket --versioning-configuration Status=Enabled
expect InvalidAccessKeyId env AWS_ACCESS_KEY_ID=AKIAAAAAAAAAAAAAAAAA AWS_SECRET_ACCESS_KEY=x \
  /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" s3 ls
key=$(sed -n 's/^aws_access_key_id = //p' "$AWS_SHARED_CREDENTIALS_FILE")
expect SignatureDoesNotMatch env AWS_ACCESS_KEY_ID="$key" AWS_SECRET_ACCESS_KEY=wrong \
  /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" s3 ls
url=$(aws s3 presign s3://interop-bucket/large --expires-in 60)
/usr/bin/python3 - "$url" "$work/large" <<'PY'
import sys, urllib.request, urllib.error
url, path = sys.argv[1:]
assert urllib.request.urlopen(url).read() == open(path, 'rb').read()
request = urllib.request.Request(url, headers={'Range': 'bytes=-5'})
assert urllib.request.urlopen(request).read() == open(path, 'rb').read()[-5:]
try:
    urllib.request.urlopen(urllib.request.Request(url, method='HEAD'))
    raise SystemExit('a pre-signed GET works for HEAD')
except urllib.error.HTTPError as error:
    assert error.code == 403
PY

echo "== boto3"
/usr/bin/python3 - <<'PY'
import base64, hashlib, os, zlib
import boto3, botocore.exceptions
s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])
bucket = 'interop-boto3'
s3.create_bucket(Bucket=bucket)
s3.create_bucket(Bucket=bucket)

def code(call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except botocore.exceptions.ClientError as error:
        return error.response['Error']['Code']
    return 'success'

for algorithm in 'CRC32', 'SHA1', 'SHA256':
    put = s3.put_object(Bucket=bucket, Key='k', Body=b'hello', ChecksumAlgorithm=algorithm)
    name = 'Checksum' + algorithm
    got = s3.get_object(Bucket=bucket, Key='k', ChecksumMode='ENABLED')
    assert put[name] == got[name] and got['Body'].read() == b'hello', algorithm
    sent = s3.head_object(Bucket=bucket, Key='k', ChecksumMode='ENABLED')
    assert sent[name] == put[name] and sent['ContentLength'] == 5
assert put['ETag'] == '"%s"' % hashlib.md5(b'hello').hexdigest()
s3.put_object(Bucket=bucket, Key='md5', Body=b'hello', ContentMD5='XUFAKrxLKna5cZ2REBfFkg==')
assert code(s3.put_object, Key='md5', Body=b'hellO', ContentMD5='XUFAKrxLKna5cZ2REBfFkg==') == 'BadDigest'
assert code(s3.put_object, Key='md5', Body=b'x', ChecksumSHA256=base64.b64encode(bytes(32)).decode()) == 'BadDigest'
assert code(s3.get_object, Key='absent') == 'NoSuchKey'
assert code(s3.head_object, Key='absent') == '404'
assert code(s3.get_object, Key='k', Range='bytes=5-') == 'InvalidRange'

s3.put_object(Bucket=bucket, Key='meta', Body=b'', Metadata={'color': 'red'}, ContentType='text/plain',
              CacheControl='no-cache')
head = s3.head_object(Bucket=bucket, Key='meta')
assert head['Metadata'] == {'color': 'red'} and head['ContentType'] == 'text/plain'
assert head['CacheControl'] == 'no-cache'

for n in range(25):
    s3.put_object(Bucket=bucket, Key='page/%02d' % n, Body=b'x')
pages = s3.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix='page/', PaginationConfig={'PageSize': 7})
assert [o['Key'] for p in pages for o in p['Contents']] == ['page/%02d' % n for n in range(25)]
pages = s3.get_paginator('list_objects').paginate(Bucket=bucket, Delimiter='/', PaginationConfig={'PageSize': 2})
assert [c['Prefix'] for p in pages for c in p.get('CommonPrefixes', [])] == ['page/']
deleted = s3.delete_objects(Bucket=bucket, Delete={'Objects': [{'Key': 'page/%02d' % n} for n in range(25)]})
assert len(deleted['Deleted']) == 25

upload = s3.create_multipart_upload(Bucket=bucket, Key='mp', ChecksumAlgorithm='SHA256')['UploadId']
parts = []
for number, body in (1, b'a' * (5 << 20)), (2, b'end'):
    part = s3.upload_part(Bucket=bucket, Key='mp', UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm='SHA256')
    parts.append({'PartNumber': number, 'ETag': part['ETag'], 'ChecksumSHA256': part['ChecksumSHA256']})
assert len(s3.list_parts(Bucket=bucket, Key='mp', UploadId=upload)['Parts']) == 2
assert s3.list_multipart_uploads(Bucket=bucket)['Uploads'][0]['UploadId'] == upload
done = s3.complete_multipart_upload(Bucket=bucket, Key='mp', UploadId=upload, MultipartUpload={'Parts': parts})
digests = b''.join(base64.b64decode(p['ChecksumSHA256']) for p in parts)
assert done['ChecksumSHA256'] == base64.b64encode(hashlib.sha256(digests).digest()).decode() + '-2'
raw = b''.join(bytes.fromhex(p['ETag'].strip('"')) for p in parts)
assert done['ETag'] == '"%s-2"' % hashlib.md5(raw).hexdigest()
assert s3.get_object(Bucket=bucket, Key='mp')['Body'].read() == b'a' * (5 << 20) + b'end'
second = s3.create_multipart_upload(Bucket=bucket, Key='mp2')['UploadId']
s3.abort_multipart_upload(Bucket=bucket, Key='mp2', UploadId=second)
assert s3.get_bucket_location(Bucket=bucket)['LocationConstraint'] is None
print('boto3', boto3.__version__, 'agrees')
PY

echo "== kill -9 while uploading"
pid=$(sed -n 's/^ *"pid": \([0-9]*\),$/\1/p' "$(dirname "$AWS_CONFIG_FILE")/region.json")
port=${AWS_ENDPOINT_URL##*:}
/usr/bin/python3 - "$work/acknowledged" <<'PY' &
import os, sys
from concurrent.futures import ThreadPoolExecutor
import boto3, botocore.config
config = botocore.config.Config(retries={'max_attempts': 0})
s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'], config=config)
acknowledged = open(sys.argv[1], 'a', buffering=1)
def put(n):
    try:
        s3.put_object(Bucket='interop-boto3', Key='crash/%d' % n, Body=b'%d ' % n * 300000)
    except Exception:
        return
    acknowledged.write('%d\n' % n)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(put, range(400)))
PY
writer=$!
for _ in $(seq 200); do
  [ -s "$work/acknowledged" ] && break
  sleep 0.1
done
sleep 0.7
kill -9 "$pid"
wait "$writer"
"$VMFERRY_BIN" region start --port "$port" > "$work/start" 2>&1 || { cat "$work/start"; fail "restart"; }
/usr/bin/python3 - "$work/acknowledged" <<'PY'
import os, sys
import boto3
s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])
numbers = [int(line) for line in open(sys.argv[1])]
for n in numbers:
    body = s3.get_object(Bucket='interop-boto3', Key='crash/%d' % n)['Body'].read()
    assert body == b'%d ' % n * 300000, n
assert 0 < len(numbers) < 400, 'the kill came too early or too late: %d' % len(numbers)
print(len(numbers), 'acknowledged objects survived kill -9')
PY
aws s3 rb s3://interop-boto3 --force > /dev/null
aws s3 rb s3://interop-bucket --force > /dev/null
echo "ok"
