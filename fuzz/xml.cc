// SPDX-License-Identifier: Apache-2.0
//
// Reads XML and escapes the text that was found in it.

#include "text/xml.h"

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"

namespace {

void Visit(const vmferry::text::XmlElement& element) {
  using namespace vmferry::text;
  XmlWriter writer;
  writer.Element("a", element.text, {{"b", element.name}});
  const auto again = ParseXml(writer.Finish());
  VMFERRY_CHECK(again.has_value());
  for (const XmlElement& child : element.children) Visit(child);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto root = text::ParseXml(AsText(std::as_bytes(std::span(data, size))));
  if (root) Visit(*root);
  return 0;
}
