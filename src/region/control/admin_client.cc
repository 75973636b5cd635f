// SPDX-License-Identifier: Apache-2.0
#include "region/control/admin_client.h"

#include <fmt/format.h>

#include "codec/digest.h"
#include "codec/text_codec.h"
#include "region/control/admin_service.h"
#include "region/core/credentials.h"
#include "sigv4/sign.h"

namespace vmferry::region::control {

Result<text::Json> AdminClient::Do(const std::filesystem::path& folder, std::string_view action,
                                   const text::Json& parameters, const OpContext& context) {
  const auto info = FindRunningRegion(folder);
  if (!info) {
    return Error(ErrorCode::kFailedPrecondition, "region.not_running", "no region is running")
        .With("path", folder.string())
        .WithRemedy("start it with 'vmferry region start'");
  }
  VMFERRY_ASSIGN_OR_RETURN(const RegionCredentials credentials, LoadCredentials(folder));
  text::Json body;
  body.Set("action", action);
  body.Set("parameters", parameters);
  const std::string text = body.Dump();

  http::Request request;
  request.method = "POST";
  request.url.scheme = "http";
  request.url.host = "127.0.0.1";
  request.url.port = info->port;
  request.body = std::as_bytes(std::span(text));
  const std::string hash = codec::HexEncode(codec::Sha256(request.body));
  const std::vector<sigv4::Header> headers = {{"Host", request.url.HostHeader()},
                                              {"Content-Type", "application/json"}};
  sigv4::Credentials signer;
  signer.access_key_id = credentials.access_key_id;
  signer.secret_access_key = credentials.secret_access_key;
  sigv4::Signing signing;
  signing.region = info->region_name;
  signing.service = "vmferry";
  signing.time = clock_.WallNow();
  for (const auto& [name, value] : headers) request.headers.Add(name, value);
  for (const auto& [name, value] : sigv4::SignHeaders(
           {request.method, request.url.path, request.url.query, headers, hash}, signer, signing)) {
    request.headers.Add(name, value);
  }
  VMFERRY_ASSIGN_OR_RETURN(const http::Response response, client_.Send(request, {}, context));
  VMFERRY_ASSIGN_OR_RETURN(text::Json json, text::Json::Parse(response.body));
  if (response.status != 200) {
    return ErrorOf(json).With("http_status", static_cast<std::uint64_t>(response.status));
  }
  return json;
}

Result<std::int64_t> AdminClient::AddFault(const std::filesystem::path& folder,
                                           const FaultRule& rule, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const text::Json json, Do(folder, "AddFault", JsonOf(rule), context));
  return json["id"].AsInt();
}

Result<std::vector<FaultRule>> AdminClient::ListFaults(const std::filesystem::path& folder,
                                                       const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const text::Json json,
                           Do(folder, "ListFaults", text::Json::MakeObject(), context));
  std::vector<FaultRule> rules;
  for (const text::Json& item : json["faults"].Items()) {
    VMFERRY_ASSIGN_OR_RETURN(FaultRule rule, FaultRuleOf(item));
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<std::int64_t> AdminClient::ClearFaults(const std::filesystem::path& folder, std::int64_t id,
                                              const OpContext& context) {
  text::Json parameters;
  parameters.Set("id", id);
  VMFERRY_ASSIGN_OR_RETURN(const text::Json json, Do(folder, "ClearFaults", parameters, context));
  return json["removed"].AsInt();
}

}  // namespace vmferry::region::control
