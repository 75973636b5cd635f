// SPDX-License-Identifier: Apache-2.0
//
// The Query protocol: parameters of EC2 and STS requests, and their two error forms.
//
// Source: aws-query and ec2-query as botocore's models describe them.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "region/core/service.h"
#include "text/xml.h"

namespace vmferry::region {

/// Parameters of one request, from query string and form body together.
class QueryParameters {
 public:
  /// Errors: kInvalidArgument region.malformed_form (more than 20,000 parameters, bad escapes).
  static Result<QueryParameters> Parse(const Call& call);

  /// The parameter's value, or nullptr.
  const std::string* Find(std::string_view name) const;
  /// The value, or "" when absent.
  std::string Get(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  std::string Action() const { return Get("Action"); }
  std::string Version() const { return Get("Version"); }

  /// Values of "name.1", "name.2"... in the order of their numbers (gaps are passed over).
  std::vector<std::string> List(std::string_view name) const;
  /// Numbers N for which "name.N" or "name.N.something" exists, ascending.
  std::vector<std::uint64_t> Indices(std::string_view name) const;
  /// "prefix.N" parameters below one element: Member("Filter", 1, "Name") is "Filter.1.Name".
  std::string Member(std::string_view list, std::uint64_t index, std::string_view member) const;

  const std::map<std::string, std::string, std::less<>>& all() const { return values_; }

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

using text::XmlEscape;

/// EC2: <Response><Errors><Error><Code/><Message/></Error></Errors><RequestID/></Response>.
Answer Ec2ErrorAnswer(int status, std::string_view code, std::string_view message,
                      std::string_view request_id);

/// EC2 success: <ActionResponse xmlns="http://ec2.amazonaws.com/doc/VERSION/"><requestId/>INNER
/// </ActionResponse>. `inner` is XML.
Answer Ec2Answer(std::string_view action, std::string_view version, std::string_view inner,
                 std::string_view request_id);

/// STS: <ErrorResponse><Error><Type/><Code/><Message/></Error><RequestId/></ErrorResponse>.
Answer StsErrorAnswer(int status, std::string_view code, std::string_view message,
                      std::string_view request_id);

}  // namespace vmferry::region
