#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# labels: interop
# timeout: 300
#
# rclone and s3cmd of Debian, which know nothing of this region, carry a file of 200 MB in and out
# and keep a folder in step; awscli moves and removes what they brought.
set -euo pipefail

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1" >&2; exit 1; }
for tool in rclone s3cmd; do
  command -v "$tool" > /dev/null || skip "$tool is not installed: apt-get install $tool"
done
[ -x /usr/bin/aws ] || skip "awscli is not installed"

unset AWS_CA_BUNDLE  # rclone does not start with one, whatever it names
work=$(mktemp -d)
export VMFERRY_STATE=$work/state
finish() {
  "$VMFERRY_BIN" region stop > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
"$VMFERRY_BIN" region start --port 0 > "$work/start" 2>&1 || { cat "$work/start"; fail "start"; }
eval "$("$VMFERRY_BIN" region env)"
aws() { /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
key=$(sed -n 's/^aws_access_key_id = //p' "$AWS_SHARED_CREDENTIALS_FILE")
secret=$(sed -n 's/^aws_secret_access_key = //p' "$AWS_SHARED_CREDENTIALS_FILE")
port=${AWS_ENDPOINT_URL##*:}
head -c 200000000 /dev/urandom > "$work/large"
mkdir -p "$work/tree/deep/er"
for i in $(seq 30); do echo "$i" > "$work/tree/deep/er/$i ü+%41"; done
: > "$work/tree/empty"

echo "== rclone $(rclone version | sed -n 's/^rclone v//p')"
cat > "$work/rclone.conf" <<CONF
[plain]
type = s3
provider = Other
access_key_id = $key
secret_access_key = $secret
region = us-east-1
endpoint = $AWS_ENDPOINT_URL
force_path_style = true
[tls]
type = s3
provider = Other
access_key_id = $key
secret_access_key = $secret
region = us-east-1
endpoint = https://127.0.0.1:$port
force_path_style = true
CONF
rclone() { command rclone --config "$work/rclone.conf" --ca-cert "$VMFERRY_REGION_CA" --retries 1 "$@"; }
rclone mkdir plain:rclone-bucket
rclone copyto "$work/large" plain:rclone-bucket/large
rclone copyto plain:rclone-bucket/large "$work/large.rclone"
cmp "$work/large" "$work/large.rclone"
rm "$work/large.rclone"
rclone copyto "$work/large" tls:rclone-bucket/large-tls
rclone check --one-way --download "$work" tls:rclone-bucket --include /large
rclone sync "$work/tree" plain:rclone-bucket/tree
rclone check "$work/tree" plain:rclone-bucket/tree
rclone copyto plain:rclone-bucket/large plain:rclone-bucket/server-side
[[ $(rclone lsf plain:rclone-bucket) == *server-side* ]] || fail "rclone server-side copy"
[ "$(rclone size --json plain:rclone-bucket/tree | grep -o '"count":[0-9]*')" = '"count":31' ] || fail "rclone size"
rclone purge plain:rclone-bucket/tree
[ -z "$(rclone lsf plain:rclone-bucket/tree 2> /dev/null)" ] || fail "rclone purge"

echo "== s3cmd $(s3cmd --version)"
cat > "$work/s3cfg" <<CONF
[default]
access_key = $key
secret_key = $secret
host_base = 127.0.0.1:$port
host_bucket = 127.0.0.1:$port
use_https = True
ca_certs_file = $VMFERRY_REGION_CA
bucket_location = us-east-1
CONF
s3cmd() { /usr/bin/s3cmd -c "$work/s3cfg" --no-progress "$@"; }
s3cmd mb s3://s3cmd-bucket
s3cmd put "$work/large" s3://s3cmd-bucket/large > /dev/null
s3cmd get s3://s3cmd-bucket/large "$work/large.s3cmd" > /dev/null
cmp "$work/large" "$work/large.s3cmd"
rm "$work/large.s3cmd"
s3cmd sync "$work/tree/" s3://s3cmd-bucket/tree/ > /dev/null
[ "$(s3cmd ls -r s3://s3cmd-bucket/tree/ | wc -l)" = 31 ] || fail "s3cmd ls"
s3cmd info s3://s3cmd-bucket > "$work/info"
grep -q 'Location: *us-east-1' "$work/info" || { cat "$work/info"; fail "s3cmd info"; }
# Not "s3cmd cp": it sets the ACL of what it copied, which no bucket of today allows.
s3cmd multipart s3://s3cmd-bucket > /dev/null
s3cmd del -r --force s3://s3cmd-bucket/tree/ > /dev/null

echo "== awscli"
aws s3 cp s3://s3cmd-bucket/large s3://rclone-bucket/from-s3cmd --no-progress
aws s3 mv s3://rclone-bucket/from-s3cmd s3://s3cmd-bucket/moved --no-progress
aws s3 cp s3://s3cmd-bucket/moved "$work/moved" --no-progress
cmp "$work/large" "$work/moved"
rm "$work/moved"
aws s3 sync s3://rclone-bucket s3://s3cmd-bucket/synced --no-progress > /dev/null
[ "$(aws s3 ls --recursive s3://s3cmd-bucket/synced/ | wc -l)" = 3 ] || fail "aws s3 sync between buckets"
aws s3 rm --recursive s3://s3cmd-bucket > /dev/null
s3cmd rb s3://s3cmd-bucket > /dev/null
rclone purge plain:rclone-bucket
[ -z "$(aws s3 ls)" ] || fail "buckets are left"
[ "$(find "$VMFERRY_STATE/region/objects" -type f | wc -l)" = 0 ] || fail "files of objects are left"
echo "ok"
