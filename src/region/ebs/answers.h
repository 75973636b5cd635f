// SPDX-License-Identifier: Apache-2.0
//
// Answers of the EBS direct APIs: JSON, and errors with type, message and reason.
//
// Source: botocore's model of the service "ebs", version 2019-11-02.

#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "region/core/service.h"
#include "text/json.h"

namespace vmferry::region::ebs {

/// An error answer. `reason` may be empty.
Answer Refusal(int status, std::string_view type, std::string_view reason,
               std::string_view message);
/// A ValidationException.
Answer Invalid(std::string_view reason, std::string_view message);
/// The answer for an error of the region's, of the snapshot `id`.
Answer RefusalOf(const Error& error, std::string_view id);
Answer JsonAnswer(int status, const text::Json& body, std::string_view snapshot_id);

}  // namespace vmferry::region::ebs
