// SPDX-License-Identifier: Apache-2.0
#include "region/core/request_log.h"

#include <fmt/format.h>

#include "base/units.h"
#include "http/message.h"
#include "text/json.h"

namespace vmferry::region {
namespace {

std::string TimeText(WallTime time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  std::string text = FormatTime(time);
  if (!text.empty() && text.back() == 'Z') text.pop_back();
  return fmt::format("{}.{:03}Z", text, since.count() % 1000);
}

std::string LoggedQuery(const Call& call) {
  std::string out;
  for (const auto& [name, value] : call.query) {
    if (name.size() >= 6 && http::EqualsIgnoreCase(std::string_view(name).substr(0, 6), "x-amz-")) {
      continue;
    }
    if (!out.empty()) out += "&";
    out += http::PercentEncode(name);
    if (!value.empty()) out += "=" + http::PercentEncode(value);
  }
  return out;
}

/// Length of the file up to and with its last line end.
Result<std::uint64_t> WholeLinesBytes(const sys::File& file) {
  VMFERRY_ASSIGN_OR_RETURN(std::uint64_t end, file.Size());
  while (end > 0) {
    std::array<std::byte, 1> last;
    VMFERRY_RETURN_IF_ERROR(file.ReadAt(end - 1, last));
    if (last[0] == std::byte{'\n'}) break;
    --end;
  }
  return end;
}

}  // namespace

Result<std::unique_ptr<RequestLog>> RequestLog::Open(const std::filesystem::path& path,
                                                     const sys::Clock& clock,
                                                     std::uint64_t bytes_max) {
  std::uint64_t bytes = 0;
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file, sys::File::Open(path, sys::File::Mode::kCreate));
    VMFERRY_ASSIGN_OR_RETURN(bytes, WholeLinesBytes(file));
    VMFERRY_RETURN_IF_ERROR(file.Truncate(bytes));
  }
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(path, sys::File::Mode::kAppend));
  return std::unique_ptr<RequestLog>(new RequestLog(std::move(file), clock, bytes, bytes_max));
}

void RequestLog::Write(const Call& call, const Answer& answer, std::chrono::microseconds duration,
                       std::string_view fault) {
  text::Json line;
  line.Set("time", TimeText(clock_.WallNow()));
  line.Set("request_id", call.request_id);
  line.Set("service", call.service);
  line.Set("operation", call.operation);
  line.Set("method", call.method);
  line.Set("path", call.raw_path);
  if (std::string query = LoggedQuery(call); !query.empty()) line.Set("query", std::move(query));
  line.Set("status", answer.status);
  line.Set("access_key_id", call.access_key_id);
  if (call.presigned) line.Set("presigned", true);
  line.Set("request_bytes", call.payload.size_bytes);
  line.Set("response_bytes", answer.file ? answer.file->length_bytes : answer.body.size());
  line.Set("duration_us", static_cast<std::int64_t>(duration.count()));
  if (!fault.empty()) line.Set("fault", fault);
  for (const auto& [name, value] : answer.log_fields) line.Set(name, value);
  const std::string text = line.Dump() + "\n";
  // A full disk must not stop the region from answering: the line is lost, the answer is not.
  const MutexLock lock(mutex_);
  if (bytes_ + text.size() > bytes_max_ && bytes_ > 0) Rotate();
  if (file_.Append(std::as_bytes(std::span(text)))) bytes_ += text.size();
}

// What cannot be rotated is written on: a log too large is better than none.
void RequestLog::Rotate() {
  const std::filesystem::path path = file_.path();
  std::error_code failure;
  std::filesystem::rename(path, path.string() + ".1", failure);
  auto fresh = sys::File::Open(path, sys::File::Mode::kAppend);
  if (failure || !fresh) return;
  file_ = std::move(*fresh);
  bytes_ = 0;
}

}  // namespace vmferry::region
