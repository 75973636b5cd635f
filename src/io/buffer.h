// SPDX-License-Identifier: Apache-2.0
//
// Buffer: bytes on the heap that are not cleared when they are made.
//
// A vector writes zeros over megabytes that a read overwrites at once; this does not. The capacity
// is fixed, the size moves within it.
//
// Thread safety: a value.

#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "base/check.h"

namespace vmferry::io {

class Buffer {
 public:
  Buffer() = default;
  /// Room for `capacity` bytes, none of them in use.
  explicit Buffer(std::size_t capacity)
      : bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)), capacity_(capacity) {}
  /// What was moved from has no capacity.
  Buffer(Buffer&& other) noexcept
      : bytes_(std::move(other.bytes_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }

  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  std::span<std::byte> bytes() { return {bytes_.get(), size_}; }
  std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }
  /// All of it, in use or not.
  std::span<std::byte> room() { return {bytes_.get(), capacity_}; }

  /// Bytes that come into use have any value. Pre: size <= capacity().
  void Resize(std::size_t size) {
    VMFERRY_CHECK(size <= capacity_);
    size_ = size;
  }

  /// Takes `count` more bytes into use and returns them. Pre: there is room.
  std::span<std::byte> Extend(std::size_t count) {
    VMFERRY_CHECK(count <= capacity_ - size_);
    size_ += count;
    return bytes().last(count);
  }

  void Append(std::span<const std::byte> data) {
    const std::span<std::byte> to = Extend(data.size());
    if (!data.empty()) std::memcpy(to.data(), data.data(), data.size());
  }

  static Buffer Copy(std::span<const std::byte> data) {
    Buffer copy(data.size());
    copy.Append(data);
    return copy;
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace vmferry::io
