// SPDX-License-Identifier: Apache-2.0
#include "aws/core/query.h"

#include <fmt/format.h>

#include "aws/core/error.h"
#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::aws {

Query::Query(std::string_view action, std::string_view version)
    : action_(action), form_(fmt::format("Action={}&Version={}", action, version)) {}

Query& Query::Add(std::string_view name, std::string_view value) {
  form_.append("&").append(http::PercentEncode(name)).append("=");
  form_.append(http::PercentEncode(value));
  return *this;
}

Query& Query::AddList(std::string_view name, std::span<const std::string> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    Add(fmt::format("{}.{}", name, i + 1), std::string_view(values[i]));
  }
  return *this;
}

Result<text::XmlElement> CallQuery(Caller& caller, Service service, const Query& query,
                                   bool idempotent, const OpContext& context) {
  ApiCall call;
  call.service = service;
  call.operation = query.action();
  call.idempotent = idempotent;
  call.request.method = "POST";
  call.request.url = caller.config().endpoints.Of(service);
  call.request.headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  call.request.body = AsBytes(query.form());
  call.payload_hash = codec::HexEncode(codec::Sha256(AsBytes(query.form())));
  text::XmlElement root;
  call.check = [&](const http::Response& response) -> Result<void> {
    auto parsed = text::ParseXml(response.body);
    if (!parsed) return BadResponse(query.action(), parsed.error().message());
    if (parsed->name != query.action() + "Response") {
      return BadResponse(query.action(), fmt::format("its root is <{}>", parsed->name));
    }
    root = *std::move(parsed);
    return {};
  };
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const http::Response response,
                           caller.Call(call, context));
  return root;
}

std::vector<const text::XmlElement*> Items(const text::XmlElement& parent, std::string_view path,
                                           std::string_view item) {
  std::vector<const text::XmlElement*> items;
  const text::XmlElement* list = path.empty() ? &parent : parent.FindPath(path);
  if (list == nullptr) return items;
  for (const text::XmlElement& child : list->children) {
    if (child.name == item) items.push_back(&child);
  }
  return items;
}

std::uint64_t UintAt(const text::XmlElement& element, std::string_view path) {
  return ParseUint(element.TextAt(path)).value_or(0);
}

bool BoolAt(const text::XmlElement& element, std::string_view path) {
  return element.TextAt(path) == "true";
}

}  // namespace vmferry::aws
