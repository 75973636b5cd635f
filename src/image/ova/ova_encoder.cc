// SPDX-License-Identifier: Apache-2.0
#include "image/ova/ova_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "image/ova/ovf_writer.h"
#include "image/ova/tar_writer.h"
#include "image/vmdk/stream_encoder.h"

namespace vmferry::image::ova {
namespace {

/// The output of the disk's encoder: a range of the archive, hashed as it is written.
class DiskOutput final : public EncoderOutput {
 public:
  DiskOutput(EncoderOutput& archive, std::uint64_t base_bytes, codec::Digester& digester)
      : archive_(archive), base_bytes_(base_bytes), digester_(digester) {}

  std::uint64_t OffsetBytes() const override { return archive_.OffsetBytes() - base_bytes_; }

  Result<void> Append(std::span<const std::byte> bytes) override {
    digester_.Update(bytes);
    return archive_.Append(bytes);
  }

  Result<void> Append(io::Buffer bytes) override {
    digester_.Update(bytes.bytes());
    return archive_.Append(std::move(bytes));
  }

  Result<void> Skip(std::uint64_t length_bytes) override {
    static constexpr std::array<std::byte, 4096> kZeros = {};
    for (std::uint64_t left = length_bytes; left > 0;) {
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(left, kZeros.size()));
      digester_.Update(std::span(kZeros).first(step));
      left -= step;
    }
    return archive_.Skip(length_bytes);
  }

  Result<void> Overwrite(std::uint64_t, std::span<const std::byte>) override {
    VMFERRY_CHECK(false);  // what was hashed must stay: the disk's encoder says it does not rewrite
    return {};
  }

  bool PieceIsFull() const override { return archive_.PieceIsFull(); }

  Result<void> EndPiece(EncoderCursor cursor) override {
    // Without a state: the digest under way cannot be kept.
    return archive_.EndPiece({.guest_offset_bytes = cursor.guest_offset_bytes,
                              .output_offset_bytes = archive_.OffsetBytes(),
                              .state = {}});
  }

 private:
  EncoderOutput& archive_;
  const std::uint64_t base_bytes_;
  codec::Digester& digester_;
};

class OvaEncoder final : public Encoder {
 public:
  OvaEncoder(std::unique_ptr<Encoder> disk, const OvaEncoderOptions& options, std::string name)
      : disk_(std::move(disk)), options_(options), name_(std::move(name)) {
    const EncoderInfo& inner = disk_->Info();
    VMFERRY_CHECK(!inner.rewrites);
    // Longer than any descriptor with the real size: what is left over becomes line ends.
    descriptor_bytes_ = Descriptor(~std::uint64_t{0}).size();
    info_ = {.id = fmt::format("ova/1 {} {}", inner.id, Fingerprint()),
             .format = "ova",
             .subformat = inner.subformat,
             .unit_bytes = inner.unit_bytes,
             .rewrites = true,
             .virtual_size_bytes = inner.virtual_size_bytes,
             .remarks = inner.remarks};
    if (options_.vm.firmware == Firmware::kUefi) {
      info_.remarks.emplace_back(
          "VirtualBox does not take the firmware from this appliance: enable EFI there after "
          "importing it");
    }
  }

  const EncoderInfo& Info() const override { return info_; }

  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    return disk_->MakeWorker(disk);
  }

  Result<void> Begin(EncoderOutput& out) override {
    begin_bytes_ = out.OffsetBytes();
    // DSP0243, "Distribution as a single file": the descriptor is the first file.
    VMFERRY_RETURN_IF_ERROR(AppendMember(out, DescriptorName(), Descriptor(~std::uint64_t{0})));
    VMFERRY_RETURN_IF_ERROR(out.Append(MakeTarHeader(DiskName(), 0, options_.modified_s)));
    disk_begin_bytes_ = out.OffsetBytes();
    DiskOutput disk_out = MakeDiskOutput(out);
    return disk_->Begin(disk_out);
  }

  Result<void> Place(EncodedPart& part, EncoderOutput& out) override {
    DiskOutput disk_out = MakeDiskOutput(out);
    return disk_->Place(part, disk_out);
  }

  Result<void> Finish(EncoderOutput& out) override {
    DiskOutput disk_out = MakeDiskOutput(out);
    VMFERRY_RETURN_IF_ERROR(disk_->Finish(disk_out));
    const std::uint64_t disk_bytes = disk_out.OffsetBytes();
    VMFERRY_RETURN_IF_ERROR(out.Skip(TarPaddingBytes(disk_bytes)));
    std::string descriptor = Descriptor(disk_bytes);
    descriptor.resize(descriptor_bytes_, '\n');
    std::array<std::byte, codec::kMaxDigestBytes> digest;
    const std::string manifest =
        fmt::format("SHA256({})= {}\nSHA256({})= {}\n", DescriptorName(),
                    codec::HexEncode(codec::Sha256(AsBytes(descriptor))), DiskName(),
                    codec::HexEncode(disk_digester_.Finish(digest)));
    VMFERRY_RETURN_IF_ERROR(AppendMember(out, ManifestName(), manifest));
    // "ustar Interchange Format": two blocks of zeros end the archive.
    constexpr std::array<std::byte, 2 * kTarBlockBytes> kEnd = {};
    VMFERRY_RETURN_IF_ERROR(out.Append(kEnd));
    VMFERRY_RETURN_IF_ERROR(
        out.Overwrite(disk_begin_bytes_ - kTarBlockBytes,
                      MakeTarHeader(DiskName(), disk_bytes, options_.modified_s)));
    return out.Overwrite(begin_bytes_ + kTarBlockBytes, AsBytes(descriptor));
  }

  Result<void> Restore(const EncoderCursor&) override {
    return Error(ErrorCode::kUnimplemented, "encoder.no_restart",
                 "an OVA cannot be gone on with: it is written from the start");
  }

 private:
  std::string DescriptorName() const { return name_ + ".ovf"; }
  std::string DiskName() const { return name_ + "-disk1.vmdk"; }
  std::string ManifestName() const { return name_ + ".mf"; }

  std::string Descriptor(std::uint64_t disk_bytes) const {
    return WriteOvf(options_.vm, {.file = DiskName(),
                                  .file_bytes = disk_bytes,
                                  .capacity_bytes = disk_->Info().virtual_size_bytes});
  }

  /// Tells apart what the options make different.
  std::string Fingerprint() const {
    const std::string text = fmt::format("{} {}", options_.modified_s, Descriptor(0));
    const codec::Sha256Digest digest = codec::Sha256(AsBytes(text));
    return codec::HexEncode(std::span(digest).first(4));
  }

  DiskOutput MakeDiskOutput(EncoderOutput& out) {
    return DiskOutput(out, disk_begin_bytes_, disk_digester_);
  }

  Result<void> AppendMember(EncoderOutput& out, std::string_view name, std::string_view content) {
    VMFERRY_RETURN_IF_ERROR(out.Append(MakeTarHeader(name, content.size(), options_.modified_s)));
    VMFERRY_RETURN_IF_ERROR(out.Append(AsBytes(content)));
    return out.Skip(TarPaddingBytes(content.size()));
  }

  const std::unique_ptr<Encoder> disk_;
  const OvaEncoderOptions options_;
  const std::string name_;
  std::size_t descriptor_bytes_ = 0;
  std::uint64_t begin_bytes_ = 0;
  std::uint64_t disk_begin_bytes_ = 0;
  codec::Digester disk_digester_{codec::DigestKind::kSha256};
  EncoderInfo info_;
};

}  // namespace

Result<std::unique_ptr<Encoder>> MakeOvaEncoder(std::uint64_t size_bytes,
                                                const OvaEncoderOptions& options) {
  std::string name = PlainName(options.vm.name);
  VMFERRY_ASSIGN_OR_RETURN(
      auto disk, vmdk::MakeStreamEncoder(size_bytes, {.content_id_from_content = false,
                                                      .file_name = name + "-disk1.vmdk"}));
  return std::unique_ptr<Encoder>(
      std::make_unique<OvaEncoder>(std::move(disk), options, std::move(name)));
}

}  // namespace vmferry::image::ova
