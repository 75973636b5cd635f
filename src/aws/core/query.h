// SPDX-License-Identifier: Apache-2.0
//
// The Query protocol of EC2 and STS: form parameters out, an XML tree back.
//
// Thread safety: Query is a value; CallQuery as Caller::Call.
// Source: EC2 API reference, "Query requests for Amazon EC2".

#pragma once

#include <concepts>

#include "aws/core/caller.h"
#include "text/xml.h"

namespace vmferry::aws {

/// Parameters in the order they were added.
class Query {
 public:
  Query(std::string_view action, std::string_view version);

  Query& Add(std::string_view name, std::string_view value);
  Query& Add(std::string_view name, const char* value) {
    return Add(name, std::string_view(value));
  }
  Query& Add(std::string_view name, std::unsigned_integral auto value) {
    return Add(name, std::string_view(std::to_string(value)));
  }
  Query& AddBool(std::string_view name, bool value) { return Add(name, value ? "true" : "false"); }
  /// Nothing when the value is empty.
  Query& AddOptional(std::string_view name, std::string_view value) {
    return value.empty() ? *this : Add(name, value);
  }
  /// name.1, name.2 ...
  Query& AddList(std::string_view name, std::span<const std::string> values);

  const std::string& action() const { return action_; }
  /// "Action=...&Version=...&...", percent-encoded.
  const std::string& form() const { return form_; }

 private:
  std::string action_;
  std::string form_;
};

/// Posts the form and returns the root element of the answer.
///
/// Errors: also kDataLoss aws.bad_response when the answer is not <ActionResponse>.
Result<text::XmlElement> CallQuery(Caller& caller, Service service, const Query& query,
                                   bool idempotent, const OpContext& context);

/// Children named `item` of the element at `path`; none when it is absent.
std::vector<const text::XmlElement*> Items(const text::XmlElement& parent, std::string_view path,
                                           std::string_view item = "item");
/// Numbers and booleans of answers: 0 and false when absent or malformed.
std::uint64_t UintAt(const text::XmlElement& element, std::string_view path);
bool BoolAt(const text::XmlElement& element, std::string_view path);

}  // namespace vmferry::aws
