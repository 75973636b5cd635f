// SPDX-License-Identifier: Apache-2.0
//
// Ed25519 signatures (RFC 8032), for certificates.

#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace vmferry::codec {

using Ed25519Signature = std::array<std::byte, 64>;

/// A new private key as PEM (PKCS #8).
Secret GenerateEd25519Key();

/// The public key of a private key, as PEM. Errors: kInvalidArgument codec.bad_key.
Result<std::string> Ed25519PublicKey(const Secret& private_pem);

/// Errors: kInvalidArgument codec.bad_key.
Result<Ed25519Signature> Ed25519Sign(const Secret& private_pem, std::span<const std::byte> message);

/// True when the signature is right. Errors: kInvalidArgument codec.bad_key.
Result<bool> Ed25519Verify(std::string_view public_pem, std::span<const std::byte> message,
                           std::span<const std::byte> signature);

}  // namespace vmferry::codec
