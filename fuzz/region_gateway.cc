// SPDX-License-Identifier: Apache-2.0
//
// Requests to the region's front door: head, authentication, body, and what S3, STS and IAM make of
// them. Half of the inputs arrive as they are; the others are signed first, so that the services
// see what a stranger with credentials may write.
//
// Input: "U" (as it is) or "S" (signed for s3), "T" (sts), "I" (iam), then METHOD, a blank, the
// target, and on the next lines "name:value" headers up to an empty line, then the body.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/byte_reader.h"
#include "base/check.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "region/core/gateway.h"
#include "region/iam/service.h"
#include "region/s3/service.h"
#include "region/sts/service.h"
#include "sigv4/sign.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/random.h"
#include "text/xml.h"

namespace {

using namespace vmferry;
using namespace vmferry::region;

/// A region without network and instances, in memory where the machine allows.
class World {
 public:
  World() {
    const std::filesystem::path memory = "/dev/shm";
    folder_ =
        (std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path()) /
        ("region-fuzz-" + std::to_string(::getpid()));
    settings_.folder = folder_;
    VMFERRY_CHECK(sys::MakeFolders(settings_.SpoolFolder()));
    credentials_ = std::move(LoadOrMakeCredentials(folder_, random_)).value();
    settings_.account_id = credentials_.account_id;
    settings_.memory_body_bytes = 4096;  // so that bodies are spooled too
    database_ = std::move(Database::Open(folder_ / "region.db")).value();
    faults_ = std::move(FaultRules::Open(*database_)).value();
    request_log_ = std::move(RequestLog::Open(folder_ / "requests.jsonl", clock_)).value();
    context_.emplace(Context{clock_, random_, log_, *database_, settings_, *faults_});
    s3_ = std::move(s3::S3Service::Open(*context_)).value();
    sts_ = std::move(sts::StsService::Open(*context_)).value();
    iam_ = std::move(iam::IamService::Open(*context_)).value();
    gateway_ = std::make_unique<Gateway>(*context_, credentials_, *request_log_,
                                         std::vector<Service*>{s3_.get(), sts_.get(), iam_.get()});
  }
  ~World() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  http::Reply Send(http::RequestHead head, std::string_view body) {
    const auto exchange = gateway_->Begin(std::move(head));
    if (exchange->WantsBody()) {
      const auto bytes = std::as_bytes(std::span(body));
      const std::size_t half = bytes.size() / 2;
      if (exchange->Write(bytes.first(half))) (void)exchange->Write(bytes.subspan(half));
    }
    return exchange->Finish();
  }

  void Sign(http::RequestHead& head, std::string_view body, std::string_view service) {
    sigv4::Credentials signer;
    signer.access_key_id = credentials_.access_key_id;
    signer.secret_access_key = credentials_.secret_access_key;
    sigv4::Signing signing;
    signing.region = settings_.region_name;
    signing.service = service;
    signing.time = clock_.WallNow();
    if (service == "s3") signing.options = sigv4::S3Options();
    std::vector<sigv4::Header> headers = head.headers.fields();
    headers.emplace_back("Host", "127.0.0.1");
    head.headers.Set("Host", "127.0.0.1");
    const std::size_t mark = std::min(head.target.find('?'), head.target.size());
    const std::string hash = codec::HexEncode(codec::Sha256(std::as_bytes(std::span(body))));
    const sigv4::RequestView view = {
        head.method, std::string_view(head.target).substr(0, mark),
        std::string_view(head.target).substr(std::min(mark + 1, head.target.size())), headers,
        hash};
    for (const auto& [name, value] : sigv4::SignHeaders(view, signer, signing)) {
      head.headers.Add(name, value);
    }
  }

 private:
  std::filesystem::path folder_;
  sys::SystemClock clock_;
  sys::SystemRandom random_;
  NullLog log_;
  Settings settings_;
  RegionCredentials credentials_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<FaultRules> faults_;
  std::unique_ptr<RequestLog> request_log_;
  std::optional<Context> context_;
  std::unique_ptr<s3::S3Service> s3_;
  std::unique_ptr<sts::StsService> sts_;
  std::unique_ptr<iam::IamService> iam_;
  std::unique_ptr<Gateway> gateway_;
};

std::string_view TakeUntil(std::string_view& text, char end) {
  const std::size_t place = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, place);
  text.remove_prefix(std::min(place + 1, text.size()));
  return taken;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  std::string_view text = AsText(std::as_bytes(std::span(data, size)));
  if (text.empty()) return 0;
  const char kind = text.front();
  text.remove_prefix(1);
  http::RequestHead head;
  std::string_view line = TakeUntil(text, '\n');
  head.method = TakeUntil(line, ' ');
  head.target = line;
  while (!text.empty()) {
    line = TakeUntil(text, '\n');
    if (line.empty()) break;
    const std::string_view name = TakeUntil(line, ':');
    head.headers.Add(name, line);
  }
  head.content_length_bytes = text.size();
  if (kind == 'S') world.Sign(head, text, "s3");
  if (kind == 'T') world.Sign(head, text, "sts");
  if (kind == 'I') world.Sign(head, text, "iam");
  const http::Reply reply = world.Send(std::move(head), text);
  VMFERRY_CHECK(reply.status >= 200 && reply.status < 600 && reply.status != 500);
  // Every error is a document that can be read.
  if (reply.status >= 400 && !reply.body.empty()) VMFERRY_CHECK(text::ParseXml(reply.body));
  return 0;
}
