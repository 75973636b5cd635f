// SPDX-License-Identifier: Apache-2.0
#include "sys/random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace vmferry::sys {
namespace {

std::string FromAlphabet(Random& random, std::string_view alphabet, std::size_t length) {
  std::string text(length, '\0');
  random.Fill(std::as_writable_bytes(std::span(text)));
  for (char& c : text) c = alphabet[static_cast<unsigned char>(c) % alphabet.size()];
  return text;
}

}  // namespace

std::string Random::Base32(std::size_t length) {
  return FromAlphabet(*this, "abcdefghijklmnopqrstuvwxyz234567", length);
}

std::string Random::Hex(std::size_t length) {
  return FromAlphabet(*this, "0123456789abcdef", length);
}

void SystemRandom::Fill(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = ::getrandom(out.data(), out.size(), 0);
    if (count < 0) {
      VMFERRY_CHECK(errno == EINTR);
      continue;
    }
    out = out.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace vmferry::sys
