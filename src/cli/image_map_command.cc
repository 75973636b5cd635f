// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/open_options.h"
#include "cli/report.h"
#include "image/extent_walk.h"
#include "text/json.h"

namespace vmferry::cli {
namespace {

using image::Extent;

Error Stopped() {
  return Error(ErrorCode::kCancelled, "cli.stopped", "the list of extents was cut short");
}

/// Prints extents as they are found: the list of a large disk need not fit in memory.
class MapPrinter {
 public:
  explicit MapPrinter(std::FILE* out) : out_(out) {}
  virtual ~MapPrinter() = default;
  MapPrinter(const MapPrinter&) = delete;
  MapPrinter& operator=(const MapPrinter&) = delete;

  virtual void Begin(const std::string& path, std::uint64_t virtual_size_bytes) = 0;
  virtual void Add(const Extent& extent) = 0;
  virtual void End() = 0;
  /// False once nobody takes the output: `| head` has seen enough.
  bool ok() const { return std::ferror(out_) == 0; }

 protected:
  template <typename... Args>
  void Print(fmt::format_string<Args...> format, Args&&... args) {
    line_.clear();
    fmt::format_to(std::back_inserter(line_), format, std::forward<Args>(args)...);
    // Not fmt::print, which throws when the reader has gone; ok() tells.
    static_cast<void>(std::fwrite(line_.data(), 1, line_.size(), out_));
  }

 private:
  std::FILE* const out_;
  fmt::memory_buffer line_;
};

class JsonMap final : public MapPrinter {
 public:
  using MapPrinter::MapPrinter;
  void Begin(const std::string& path, std::uint64_t virtual_size_bytes) override {
    Print(
        "{{\"schema\":\"vmferry.image-map/1\",\"path\":{},\"virtual_size_bytes\":{},"
        "\"extents\":[",
        text::JsonQuote(path), virtual_size_bytes);
  }
  void Add(const Extent& extent) override {
    Print("{}\n{{\"offset_bytes\":{},\"length_bytes\":{},\"kind\":\"{}\"}}", first_ ? "" : ",",
          extent.offset_bytes, extent.length_bytes, KindName(extent.kind));
    first_ = false;
  }
  void End() override { Print("\n]}}\n"); }

 private:
  bool first_ = true;
};

class TextMap final : public MapPrinter {
 public:
  using MapPrinter::MapPrinter;
  void Begin(const std::string&, std::uint64_t virtual_size_bytes) override {
    width_ = std::max<std::size_t>(fmt::formatted_size("{}", virtual_size_bytes), 6);
    size_bytes_ = virtual_size_bytes;
    Print("{:>{}}  {:>{}}  KIND\n", "OFFSET", width_, "LENGTH", width_);
  }
  void Add(const Extent& extent) override {
    Total& total = totals_[static_cast<std::size_t>(extent.kind)];
    total.bytes += extent.length_bytes;
    ++total.count;
    Print("{:>{}}  {:>{}}  {}\n", extent.offset_bytes, width_, extent.length_bytes, width_,
          KindName(extent.kind));
  }
  void End() override {
    Print("\n");
    for (std::size_t kind = 0; kind < totals_.size(); ++kind) {
      const Total& total = totals_[kind];
      if (total.count == 0) continue;
      Print("{:>{}}  {:5.1f} %  {} in {} extent{}\n", total.bytes, width_,
            100.0 * static_cast<double>(total.bytes) / static_cast<double>(size_bytes_),
            KindName(static_cast<image::ExtentKind>(kind)), total.count,
            total.count == 1 ? "" : "s");
    }
  }

 private:
  struct Total {
    std::uint64_t bytes = 0;
    std::uint64_t count = 0;
  };
  std::size_t width_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::array<Total, 3> totals_;  // by kind
};

}  // namespace

Result<void> RunImageMap(CommandContext& context) {
  image::OpenOptions options = OpenOptionsOf(context.arguments);
  options.allow_running = true;  // looking does no harm
  VMFERRY_ASSIGN_OR_RETURN(const image::OpenedDisk disk,
                           image::OpenDisk(context.arguments.source, options));
  JsonMap json(context.world.out);
  TextMap text(context.world.out);
  MapPrinter& printer = context.arguments.output == OutputForm::kText
                            ? static_cast<MapPrinter&>(text)
                            : static_cast<MapPrinter&>(json);
  printer.Begin(context.arguments.source, disk.image->SizeBytes());
  image::ExtentWalk walk(*disk.image);
  while (printer.ok()) {
    if (context.world.stop.stop_requested()) return Stopped();
    VMFERRY_ASSIGN_OR_RETURN(const std::optional<Extent> extent, walk.Next());
    if (!extent) break;
    printer.Add(*extent);
  }
  printer.End();
  return {};
}

}  // namespace vmferry::cli
