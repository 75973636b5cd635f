// SPDX-License-Identifier: Apache-2.0
//
// Pre-signed URLs of Signature Version 2, which manifests of old tools carry. They are understood
// here only, for imports: everywhere else the region wants Version 4.
//
// Source: Amazon S3 Developer Guide (API version 2006-03-01), "Signing and authenticating REST
// requests", "Query string request authentication alternative".

#pragma once

#include <string_view>

#include "base/units.h"
#include "http/message.h"
#include "region/core/credentials.h"
#include "region/import/local_url.h"

namespace vmferry::region {

/// True when the query holds AWSAccessKeyId, Expires and Signature.
bool IsV2Signed(const http::Url& url);

/// Whether the URL, which names `object`, is signed for GET by the account's key and has not
/// expired.
bool V2SignatureFits(const http::Url& url, const ObjectName& object,
                     const RegionCredentials& credentials, WallTime now);

}  // namespace vmferry::region
