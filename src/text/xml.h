// SPDX-License-Identifier: Apache-2.0
//
// XML: a bounded reader that makes a tree, and a writer that escapes.
//
// Documents come from strangers: document type declarations (and with them entities) are refused;
// size, depth and number of elements are bounded. Expat does the parsing.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vmferry::text {

/// An element: its local name (prefix and namespace dropped), attributes, text and children.
struct XmlElement {
  std::string name;
  std::string namespace_uri;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string text;  ///< all character data directly inside, blanks kept
  std::vector<XmlElement> children;

  /// The first child of that name, or nullptr.
  const XmlElement* Find(std::string_view child) const;
  /// Walks down the first children of those names: "a/b/c". nullptr when one is missing.
  const XmlElement* FindPath(std::string_view path) const;
  /// Text of the element at `path`, without blanks at the ends; empty when it is missing.
  std::string TextAt(std::string_view path) const;
  std::optional<std::string_view> Attribute(std::string_view attribute) const;
};

struct XmlLimits {
  std::size_t bytes = 16U << 20;
  std::size_t elements = 1'000'000;
  std::size_t depth = 64;
};

/// Errors: kInvalidArgument xml.malformed, xml.doctype, xml.too_large.
Result<XmlElement> ParseXml(std::string_view document, const XmlLimits& limits = {});

/// The text without blanks (space, tab, line ends) at both ends.
std::string_view Trim(std::string_view text);

/// & < > " as entities; control characters XML 1.0 cannot carry become U+FFFD.
std::string XmlEscape(std::string_view text);

/// Writes a document piece by piece. Names are the caller's and are not checked.
class XmlWriter {
 public:
  /// With the declaration line when `declaration`.
  explicit XmlWriter(bool declaration = true, bool indent = false);

  using Attributes = std::vector<std::pair<std::string_view, std::string>>;
  XmlWriter& Open(std::string_view name, const Attributes& attributes = {});
  XmlWriter& Close();
  /// <name>text</name>
  XmlWriter& Element(std::string_view name, std::string_view text,
                     const Attributes& attributes = {});
  /// <name a="b"/>
  XmlWriter& Empty(std::string_view name, const Attributes& attributes = {});
  /// Closes what is open and returns the document.
  std::string Finish();

 private:
  void Tag(std::string_view name, const Attributes& attributes, std::string_view end);
  void NewLine();

  std::string out_;
  std::vector<std::string> open_;
  bool indent_;
};

}  // namespace vmferry::text
