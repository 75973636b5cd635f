# SPDX-License-Identifier: Apache-2.0
"""boto3 of Debian against a laboratory's region. Import this before anything else of the test: a script that runs
under another python goes on under Debian's."""

import json
import os
import pathlib
import sys
import warnings

PYTHON = "/usr/bin/python3"
if os.path.realpath(sys.executable) != os.path.realpath(PYTHON) and pathlib.Path(PYTHON).exists():
    os.execv(PYTHON, [PYTHON, *sys.argv])

try:
    import boto3
    import botocore.config
    import botocore.exceptions
    import botocore.loaders
    import botocore.session
except ImportError:
    print("skipped: boto3 of Debian is missing: apt-get install python3-boto3")
    sys.exit(77)

# boto3 leaves its connections to the garbage collector.
warnings.simplefilter("ignore", ResourceWarning)
if not sys.warnoptions:
    sys.warnoptions.append("ignore::ResourceWarning")

for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/nonexistent"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


# Reading EC2's model takes a second of CPU: once for all clients.
LOADER = botocore.loaders.create_loader()


def session(region_folder):
    keys = json.loads((pathlib.Path(region_folder) / "credentials.json").read_text())
    info = json.loads((pathlib.Path(region_folder) / "region.json").read_text())
    core = botocore.session.get_session()
    core.register_component("data_loader", LOADER)
    return boto3.Session(aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
                         region_name=info["region"], botocore_session=core), info["endpoint"].rstrip("/")


def client(region_folder, service, attempts=1, connections=10):
    """A client that tries `attempts` times in all."""
    made, endpoint = session(region_folder)
    config = botocore.config.Config(retries={"total_max_attempts": attempts, "mode": "standard"},
                                    max_pool_connections=connections, read_timeout=120, connect_timeout=60,
                                    signature_version="s3v4" if service == "s3" else None,
                                    s3={"addressing_style": "path"})
    return made.client(service, endpoint_url=endpoint, config=config)


def refusal(call, *arguments, **parameters):
    """(status, code, reason, message) of a call that must fail."""
    try:
        answer = call(*arguments, **parameters)
    except botocore.exceptions.ClientError as error:
        response = error.response
        return (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"],
                response.get("Reason", ""), response["Error"]["Message"])
    raise AssertionError(f"expected a refusal, got {answer}")
