#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# kill_and_resume_test.py with 50 random migrations.
#
# labels: crash long
# timeout: 3000
# lock: guest
import os
import pathlib
import sys

script = pathlib.Path(__file__).with_name("kill_and_resume_test.py")
os.environ["VMFERRY_TEST_ROUNDS"] = os.environ.get("VMFERRY_TEST_ROUNDS", "50")
os.environ["VMFERRY_TEST_TIMEOUT"] = "3000"
os.execv(sys.executable, [sys.executable, str(script), "KillAndResume.test_random_moments"])
