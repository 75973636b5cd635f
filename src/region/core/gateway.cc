// SPDX-License-Identifier: Apache-2.0
#include "region/core/gateway.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/core/aws_chunked.h"
#include "region/core/host_name.h"
#include "region/core/payload_spool.h"
#include "region/core/request_ids.h"
#include "region/core/signature_v2.h"

namespace vmferry::region {
namespace {

using std::chrono::microseconds;

constexpr std::string_view kStreamingPrefix = "STREAMING-";

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

/// Path and query of a target; of an absolute one (as proxies get) without scheme and host.
std::pair<std::string_view, std::string_view> SplitTarget(std::string_view target) {
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const std::size_t slash = target.find('/', target.find("//") + 2);
    target = slash == target.npos ? std::string_view("/") : target.substr(slash);
  }
  const std::size_t mark = std::min(target.find('?'), target.size());
  return {target.substr(0, mark), target.substr(std::min(mark + 1, target.size()))};
}

bool ParseQuery(std::string_view query, std::vector<NameValue>& out) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto name = http::PercentDecode(pair.substr(0, equals), true);
    const auto value = http::PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return false;
    out.emplace_back(*name, *value);
  }
  return true;
}

/// The dialect in which to refuse a request that names no service.
std::string GuessService(const Call& call, const HostName& host) {
  if (!host.service.empty()) return host.service;
  if (call.path == "/" && call.method == "POST") return "ec2";
  if (call.path == "/" && call.FindQuery("Action") != nullptr) return "ec2";
  if (call.raw_path.starts_with("/snapshots")) return "ebs";
  return "s3";
}

bool IsHexSha256(std::string_view text) {
  return text.size() == 64 && codec::HexDecode(text).has_value();
}

}  // namespace

/// One request on its way through the gateway.
class GatewayExchange final : public http::Exchange {
 public:
  explicit GatewayExchange(Gateway& gateway)
      : gateway_(gateway), started_(gateway.context_.clock.MonotonicNow()) {}

  /// Network thread: reads the head, authenticates as far as the head allows, prepares for the
  /// payload.
  void Begin(http::RequestHead head);

  bool WantsBody() const override { return !refused_; }
  Result<void> Write(std::span<const std::byte> data) override;
  http::Reply Finish() override;

 private:
  void ReadHead(http::RequestHead& head);
  bool Authenticate();
  bool AuthenticateV2(const UrlSignatureV2& signature);
  bool ReadPayloadHash();
  void PreparePayload(std::optional<std::uint64_t> content_length);
  void WantChecksums();
  std::optional<ChunkSigning> SigningOfChunks() const;
  bool FinishPayload();
  Answer Run(std::string& fault, bool& cut);
  http::Reply ReplyFor(Answer answer) const;

  sigv4::RequestView View(std::string_view payload_hash) const {
    return {call_.method, call_.raw_path, raw_query_, raw_headers_, payload_hash};
  }
  bool Refuse(Refusal refusal);
  bool Refuse(int status, std::string_view code, std::string_view message) {
    return Refuse(Refusal{status, std::string(code), std::string(message), {}});
  }
  bool RefuseWrite(const Error& error);
  Answer RefusalAnswer();

  Gateway& gateway_;
  const MonotonicTime started_;
  Call call_;
  std::string raw_query_;
  std::vector<sigv4::Header> raw_headers_;
  HostName host_;
  sigv4::Claim claim_;
  RegionCredentials signer_;    // whose secret the signature is checked with
  std::string claimed_hash_;    // what the signer used; empty: the hash of the body, known later
  bool streaming_ = false;      // aws-chunked
  Service* service_ = nullptr;  // also set when refused, to find the words
  std::optional<Refusal> refused_;
  std::unique_ptr<PayloadSpool> spool_;
  std::unique_ptr<AwsChunkedDecoder> chunks_;
};

void GatewayExchange::Begin(http::RequestHead head) {
  ReadHead(head);
  if (refused_ || !Authenticate()) return;
  const std::uint64_t length = head.content_length_bytes.value_or(0);
  if (length > gateway_.context_.settings.body_bytes_max) {
    Refuse(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size");
    return;
  }
  PreparePayload(head.content_length_bytes);
}

void GatewayExchange::ReadHead(http::RequestHead& head) {
  const auto [path, query] = SplitTarget(head.target);
  call_.method = head.method;
  call_.raw_path = std::string(path);
  raw_query_ = std::string(query);
  for (const auto& [name, value] : head.headers.fields()) {
    raw_headers_.emplace_back(name, value);
    call_.headers.emplace_back(LowerCase(name), value);
  }
  if (const std::string* host = call_.FindHeader("host")) call_.host = *host;
  host_ = ParseHost(call_.host);
  const auto decoded = http::PercentDecode(path);
  const bool readable = decoded.has_value() && ParseQuery(query, call_.query);
  if (decoded) call_.path = *decoded;
  call_.service = GuessService(call_, host_);
  service_ = gateway_.FindService(call_.service);
  call_.request_id = MakeRequestId(gateway_.context_.random, call_.service);
  if (!readable || !call_.raw_path.starts_with('/')) {
    Refuse(400, "InvalidURI", "Couldn't parse the specified URI.");
  }
}

bool GatewayExchange::Authenticate() {
  auto claim = sigv4::ParseClaim(View({}));
  if (!claim) {
    const std::string& reason = claim.error().reason();
    if (call_.FindQuery("AWSAccessKeyId") != nullptr && call_.service == "s3") {
      if (const auto signature = ReadUrlSignatureV2(call_)) return AuthenticateV2(*signature);
      return Refuse(403, "AccessDenied",
                    "Query-string authentication requires the Signature, Expires and "
                    "AWSAccessKeyId parameters");
    }
    const std::string* authorization = call_.FindHeader("authorization");
    if (authorization != nullptr && authorization->starts_with("AWS ")) {
      return Refuse(400, "InvalidRequest",
                    "The authorization mechanism you have provided is not supported. Please use "
                    "AWS4-HMAC-SHA256.");
    }
    Refusal refusal = RefusalFor(
        call_.service, reason == "sigv4.missing" ? AuthFault::kMissing : AuthFault::kMalformed);
    if (reason == "sigv4.bad_query" && call_.service == "s3") {
      refusal = {400, "AuthorizationQueryParametersError", claim.error().message(), {}};
    }
    return Refuse(std::move(refusal));
  }
  claim_ = std::move(claim).value();
  call_.presigned = claim_.query_form;
  call_.access_key_id = claim_.access_key_id;
  if (!host_.service.empty() && host_.service != claim_.scope.service) {
    return Refuse(RefusalFor(host_.service, AuthFault::kWrongService));
  }
  service_ = gateway_.FindService(claim_.scope.service);
  if (service_ == nullptr) {
    return Refuse(501, "NotImplemented",
                  fmt::format("This region has no service '{}'.", claim_.scope.service));
  }
  if (call_.service != claim_.scope.service) {
    call_.service = claim_.scope.service;
    call_.request_id = MakeRequestId(gateway_.context_.random, call_.service);
  }
  // IAM has one endpoint for all regions; STS has one beside those of the regions.
  const AuthRules rules = {
      gateway_.context_.settings.region_name, gateway_.context_.clock.WallNow(),
      call_.service == "iam" ||
          (call_.service == "sts" && host_.service == "sts" && host_.region.empty())};
  if (auto refusal = FindSigner(claim_, gateway_.credentials_, rules, signer_)) {
    return Refuse(*std::move(refusal));
  }
  if (auto refusal = CheckClaim(claim_, call_.headers, rules)) {
    return Refuse(*std::move(refusal));
  }
  return ReadPayloadHash();
}

bool GatewayExchange::AuthenticateV2(const UrlSignatureV2& signature) {
  claim_.query_form = true;
  claim_.access_key_id = call_.access_key_id = signature.access_key_id;
  claim_.session_token = signature.session_token;
  claim_.scope.service = "s3";
  call_.presigned = true;
  const WallTime now = gateway_.context_.clock.WallNow();
  const AuthRules rules = {gateway_.context_.settings.region_name, now, false};
  if (auto refusal = FindSigner(claim_, gateway_.credentials_, rules, signer_)) {
    return Refuse(*std::move(refusal));
  }
  if (signature.expires < now) {
    Refusal refusal = RefusalFor("s3", AuthFault::kExpired);
    refusal.details = {{"Expires", FormatTime(signature.expires)}, {"ServerTime", FormatTime(now)}};
    return Refuse(std::move(refusal));
  }
  const std::string text = StringToSignV2(call_, signature, host_.bucket);
  if (!sigv4::ConstantTimeEquals(SignV2(text, signer_.secret_access_key), signature.signature)) {
    Refusal refusal = RefusalFor("s3", AuthFault::kWrongSignature);
    refusal.details = {{"AWSAccessKeyId", signature.access_key_id},
                       {"StringToSign", text},
                       {"SignatureProvided", signature.signature}};
    return Refuse(std::move(refusal));
  }
  claimed_hash_ = std::string(sigv4::kUnsignedPayload);
  return true;
}

bool GatewayExchange::ReadPayloadHash() {
  const std::string* header = call_.FindHeader("x-amz-content-sha256");
  if (header == nullptr) header = call_.FindQuery("X-Amz-Content-Sha256");
  if (call_.service == "s3" && claim_.query_form && header == nullptr) {
    claimed_hash_ = std::string(sigv4::kUnsignedPayload);
  } else if (call_.service == "s3" && header == nullptr) {
    return Refuse(RefusalFor("s3", AuthFault::kHashMissing));
  } else if (header != nullptr) {
    claimed_hash_ = *header;
    streaming_ = header->starts_with(kStreamingPrefix);
    if (header->find("ECDSA") != header->npos || (streaming_ && call_.service != "s3")) {
      return Refuse(501, "NotImplemented",
                    fmt::format("x-amz-content-sha256 '{}' is not modelled.", *header));
    }
    if (!streaming_ && *header != sigv4::kUnsignedPayload && !IsHexSha256(*header)) {
      return Refuse(400, "InvalidArgument",
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-"
                    "PAYLOAD, or a valid sha256 value.");
    }
  }
  if (claimed_hash_.empty()) return true;  // known when the body is
  if (auto refusal = CheckSignature(claim_, View(claimed_hash_), signer_)) {
    return Refuse(*std::move(refusal));
  }
  return true;
}

void GatewayExchange::PreparePayload(std::optional<std::uint64_t> content_length) {
  if (content_length == 0U && !streaming_ && claimed_hash_.empty()) {
    claimed_hash_ = std::string(sigv4::kEmptyPayloadHash);
    if (auto refusal = CheckSignature(claim_, View(claimed_hash_), signer_)) {
      Refuse(*std::move(refusal));
      return;
    }
  }
  const Settings& settings = gateway_.context_.settings;
  spool_ = std::make_unique<PayloadSpool>(settings.SpoolFolder() / gateway_.context_.random.Hex(24),
                                          settings.memory_body_bytes);
  if (content_length) spool_->Expect(*content_length);
  WantChecksums();
  if (!streaming_) return;
  chunks_ = std::make_unique<AwsChunkedDecoder>(
      SigningOfChunks(),
      [spool = spool_.get()](std::span<const std::byte> data) { return spool->Write(data); });
}

void GatewayExchange::WantChecksums() {
  if (!streaming_ && claimed_hash_ != sigv4::kUnsignedPayload) {
    spool_->Want(ChecksumKind::kSha256);
  }
  if (call_.service != "s3") return;
  if (call_.method == "PUT" || call_.FindHeader("content-md5") != nullptr) {
    spool_->Want(ChecksumKind::kMd5);
  }
  bool asked = call_.method != "PUT";
  const auto want = [&](std::string_view name) {
    const auto kind = ChecksumKindByName(name);
    if (!kind) return;
    spool_->Want(*kind);
    asked = true;
  };
  static constexpr std::string_view kPrefix = "x-amz-checksum-";
  for (const auto& [name, value] : call_.headers) {
    if (name.starts_with(kPrefix)) want(std::string_view(name).substr(kPrefix.size()));
    if (name == "x-amz-sdk-checksum-algorithm") want(LowerCase(value));
    if (name == "x-amz-trailer" && value.starts_with(kPrefix)) {
      want(LowerCase(std::string_view(value).substr(kPrefix.size())));
    }
  }
  // S3 gives an object that comes without a checksum this one.
  if (!asked) spool_->Want(ChecksumKind::kCrc64nvme);
}

std::optional<ChunkSigning> GatewayExchange::SigningOfChunks() const {
  if (claimed_hash_.starts_with("STREAMING-UNSIGNED")) return std::nullopt;
  ChunkSigning signing;
  signing.signing_key = sigv4::SigningKey(signer_.secret_access_key, claim_.scope);
  signing.amz_date = claim_.amz_date;
  signing.scope = claim_.scope;
  signing.seed_signature = claim_.signature;
  signing.signed_trailer = claimed_hash_.ends_with("-TRAILER");
  return signing;
}

Result<void> GatewayExchange::Write(std::span<const std::byte> data) {
  Result<void> outcome = chunks_ ? chunks_->Write(data) : spool_->Write(data);
  if (!outcome) RefuseWrite(outcome.error());
  return outcome;
}

bool GatewayExchange::RefuseWrite(const Error& error) {
  if (error.reason() == "region.bad_chunk_signature") {
    return Refuse(RefusalFor(call_.service, AuthFault::kWrongSignature, error.message()));
  }
  if (error.reason() == "region.bad_chunk") {
    return Refuse(400, "InvalidRequest", error.message());
  }
  gateway_.context_.log.Warn("cannot spool a request", {{"error", error.ToString()}});
  if (error.code() == ErrorCode::kResourceExhausted) {
    return Refuse(503, "ServiceUnavailable", "The region's disk is full: no space is left.");
  }
  return Refuse(500, "InternalError", "We encountered an internal error. Please try again.");
}

bool GatewayExchange::FinishPayload() {
  if (chunks_) {
    if (auto outcome = chunks_->Finish(); !outcome) return RefuseWrite(outcome.error());
    const std::string* decoded = call_.FindHeader("x-amz-decoded-content-length");
    if (decoded == nullptr) {
      return Refuse(411, "MissingContentLength",
                    "You must provide the x-amz-decoded-content-length HTTP header.");
    }
    if (*decoded != std::to_string(chunks_->decoded_bytes())) {
      return Refuse(400, "IncompleteBody",
                    "You did not provide the number of bytes specified by the "
                    "x-amz-decoded-content-length HTTP header");
    }
  }
  call_.payload = spool_->Finish();
  if (chunks_) call_.payload.trailers = chunks_->trailers();
  const std::string computed =
      codec::HexEncode(std::as_bytes(std::span(call_.payload.digests.sha256)));
  if (claimed_hash_.empty()) {
    if (auto refusal = CheckSignature(claim_, View(computed), signer_)) {
      return Refuse(*std::move(refusal));
    }
  } else if (IsHexSha256(claimed_hash_) && computed != claimed_hash_) {
    return Refuse(Refusal{
        400,
        call_.service == "s3" ? "XAmzContentSHA256Mismatch" : "InvalidSignatureException",
        "The provided 'x-amz-content-sha256' header does not match what was "
        "computed.",
        {{"ClientComputedContentSHA256", claimed_hash_}, {"S3ComputedContentSHA256", computed}}});
  }
  return true;
}

http::Reply GatewayExchange::Finish() {
  std::string fault;
  bool cut = false;
  Answer answer = !refused_ && FinishPayload() ? Run(fault, cut) : RefusalAnswer();
  const auto duration =
      std::chrono::duration_cast<microseconds>(gateway_.context_.clock.MonotonicNow() - started_);
  gateway_.request_log_.Write(call_, answer, duration, fault);
  if (cut) {
    http::Reply reply;
    reply.cut = true;
    return reply;
  }
  return ReplyFor(std::move(answer));
}

Answer GatewayExchange::Run(std::string& fault, bool& cut) {
  call_.operation = service_->OperationOf(call_);
  const auto rule = gateway_.context_.faults.Take(call_.operation);
  if (!rule) return service_->Handle(call_);
  fault = std::string(FaultKindName(rule->kind));
  switch (rule->kind) {
    case FaultKind::kDelay:
      gateway_.context_.clock.SleepFor(std::chrono::milliseconds(rule->delay_ms), {});
      return service_->Handle(call_);
    case FaultKind::kCutAfter:
      cut = true;
      return service_->Handle(call_);
    case FaultKind::kCut: {
      cut = true;
      Answer nothing;
      nothing.status = 0;
      return nothing;
    }
    case FaultKind::kError:
    case FaultKind::kThrottle:
    case FaultKind::kServerError:
    case FaultKind::kUnavailable:
    case FaultKind::kExpiredToken:
    case FaultKind::kFail:
    case FaultKind::kForeignBucket:
      break;
  }
  const FaultWords words = WordsOf(*rule, call_.service);
  return service_->ErrorAnswer(words.status, words.code, words.message, call_);
}

bool GatewayExchange::Refuse(Refusal refusal) {
  if (!refused_) refused_ = std::move(refusal);
  return false;
}

Answer GatewayExchange::RefusalAnswer() {
  call_.error_details = refused_->details;
  Service* words = service_ != nullptr ? service_ : gateway_.FindService("s3");
  if (words == nullptr && !gateway_.services_.empty()) words = gateway_.services_.front();
  if (words != nullptr) {
    return words->ErrorAnswer(refused_->status, refused_->code, refused_->message, call_);
  }
  Answer answer;
  answer.status = refused_->status;
  answer.body = refused_->message;
  return answer;
}

http::Reply GatewayExchange::ReplyFor(Answer answer) const {
  http::Reply reply;
  reply.status = answer.status;
  for (const auto& [name, value] : answer.headers) reply.headers.Add(name, value);
  if (call_.service == "s3") {
    reply.headers.Add("x-amz-request-id", call_.request_id);
    reply.headers.Add("x-amz-id-2", HostIdFor(call_.request_id));
    reply.headers.Add("Server", "AmazonS3");
  } else {
    reply.headers.Add("x-amzn-RequestId", call_.request_id);
  }
  reply.headers.Add("Date", HttpDate(gateway_.context_.clock.WallNow()));
  reply.body = std::move(answer.body);
  reply.announced_length_bytes = answer.announced_length_bytes;
  if (answer.file) {
    reply.file = http::FileRange{std::move(answer.file->file), answer.file->offset_bytes,
                                 answer.file->length_bytes};
  }
  return reply;
}

Gateway::Gateway(const Context& context, const RegionCredentials& credentials,
                 RequestLog& request_log, std::vector<Service*> services)
    : context_(context),
      credentials_(credentials),
      request_log_(request_log),
      services_(std::move(services)) {
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(context_.settings.SpoolFolder(), ignored)) {
    std::error_code ignored_too;
    std::filesystem::remove(entry.path(), ignored_too);
  }
}

std::unique_ptr<http::Exchange> Gateway::Begin(http::RequestHead head) {
  auto exchange = std::make_unique<GatewayExchange>(*this);
  exchange->Begin(std::move(head));
  return exchange;
}

http::Reply Gateway::Malformed(int status, std::string_view what) {
  http::Reply reply;
  reply.status = status;
  reply.headers = {{"Content-Type", "application/xml"},
                   {"Date", HttpDate(context_.clock.WallNow())}};
  reply.body = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>"
      "</Error>",
      status == 413   ? "EntityTooLarge"
      : status == 501 ? "NotImplemented"
                      : "BadRequest",
      what);
  return reply;
}

Service* Gateway::FindService(std::string_view name) const {
  for (Service* service : services_) {
    if (service->Name() == name) return service;
  }
  return nullptr;
}

}  // namespace vmferry::region
