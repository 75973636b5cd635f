// SPDX-License-Identifier: Apache-2.0
//
// Secret: text that must not reach a log, a flag, a message or a core dump's reader by accident.
//
// It has no stream operator, no formatter and no implicit conversion; Expose() is easy to search
// for. The memory is overwritten on destruction.

#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace vmferry {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  Secret(const Secret&) = default;
  Secret(Secret&&) = default;
  Secret& operator=(const Secret&) = default;
  Secret& operator=(Secret&&) = default;
  ~Secret() {
    volatile char* bytes = text_.data();
    for (std::size_t i = 0; i < text_.size(); ++i) bytes[i] = 0;
  }

  bool empty() const { return text_.empty(); }
  std::string_view Expose() const { return text_; }

 private:
  std::string text_;
};

}  // namespace vmferry
