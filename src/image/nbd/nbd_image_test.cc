// SPDX-License-Identifier: Apache-2.0
//
// Against nbdkit and qemu-nbd: strangers' servers, well behaved and not.

#include "image/nbd/nbd_image.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/units.h"
#include "image/open.h"
#include "testing/fake_random.h"
#include "testing/nbd_server.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::nbd {
namespace {

using testing::NbdServer;
using testing::RunTool;
using testing::TempDir;
using Bytes = std::vector<std::byte>;
using std::chrono::milliseconds;

std::string UriOf(const std::filesystem::path& socket, const std::string& name = "") {
  return "nbd+unix:///" + name + "?socket=" + socket.string();
}

/// nbdkit's pattern plugin: each 8 aligned bytes hold their offset, big-endian.
std::byte PatternAt(std::uint64_t offset) {
  return static_cast<std::byte>((offset & ~std::uint64_t{7}) >> (8 * (7 - offset % 8)));
}

void ExpectPattern(const DiskImage& disk, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length);
  const auto read = disk.Read(offset, bytes);
  ASSERT_TRUE(read) << read.error().ToString();
  for (std::size_t i = 0; i < length; ++i) {
    ASSERT_EQ(bytes[i], PatternAt(offset + i)) << offset << "+" << i;
  }
}

std::string ReasonOf(const Result<std::unique_ptr<DiskImage>>& disk) {
  return disk ? "" : disk.error().reason();
}

TEST(NbdImage, ReadsAnExportOfOddSize) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"pattern", "1000003"})) << server.complaint();
  const auto opened = OpenDisk(UriOf(dir.path() / "s", "some%20name"));
  ASSERT_TRUE(opened) << opened.error().ToString();
  const DiskImage& disk = *opened->image;
  EXPECT_TRUE(opened->files.empty());
  EXPECT_EQ(disk.SizeBytes(), 1000003U);
  EXPECT_EQ(disk.Info().format, "nbd");
  EXPECT_EQ(disk.Info().wire_format, "");
  EXPECT_EQ(disk.Info().details.front().second, "some name");
  EXPECT_EQ(disk.Info().defects.size(), 1U);
  ExpectPattern(disk, 0, 1000003);
  ExpectPattern(disk, 1000002, 1);
  ExpectPattern(disk, 511, 3);
  Bytes one(1);
  EXPECT_EQ(disk.Read(1000003, one).error().reason(), "image.read_past_end");
  EXPECT_TRUE(disk.Read(1000003, std::span(one).first(0)));
}

TEST(NbdImage, KeepsToTheServersBlockSizes) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(server.StartNbdkit(
      dir.path() / "s",
      {"--filter=blocksize-policy", "pattern", "1000000", "blocksize-minimum=4096",
       "blocksize-preferred=8192", "blocksize-maximum=65536", "blocksize-error-policy=error"}))
      << server.complaint();
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  // The server rounds its size down to whole blocks or not: whatever it says can be read.
  const std::uint64_t size = (*disk)->SizeBytes() / 4096 * 4096;
  ExpectPattern(**disk, 0, size);
  testing::FakeRandom random(7);
  for (int i = 0; i < 40; ++i) {
    std::array<std::byte, 8> seed{};
    random.Fill(seed);
    std::uint64_t value = 0;
    std::memcpy(&value, seed.data(), sizeof value);
    const std::uint64_t offset = value % size;
    ExpectPattern(**disk, offset, std::min<std::uint64_t>((value >> 32) % 20000, size - offset));
  }
  EXPECT_TRUE((*disk)->Extents(1, 5000));
}

/// The extents as nbdinfo prints them: "offset length type".
std::string MapOf(const std::string& uri) { return RunTool({"nbdinfo", "--map", uri}).output; }

std::string MapOf(const DiskImage& disk, std::uint64_t window) {
  std::vector<Extent> all;
  for (std::uint64_t at = 0; at < disk.SizeBytes(); at += window) {
    const auto extents = disk.Extents(at, std::min(window, disk.SizeBytes() - at));
    if (!extents) return extents.error().ToString();
    std::uint64_t next = at;
    for (const Extent& extent : *extents) {
      EXPECT_EQ(extent.offset_bytes, next);
      next += extent.length_bytes;
      if (!all.empty() && all.back().kind == extent.kind) {
        all.back().length_bytes += extent.length_bytes;
      } else {
        all.push_back(extent);
      }
    }
    EXPECT_EQ(next, std::min(at + window, disk.SizeBytes()));
  }
  std::string text;
  for (const Extent& extent : all) {
    text += fmt::format("{:>10} {:>11} {}\n", extent.offset_bytes, extent.length_bytes,
                        extent.kind == ExtentKind::kData   ? "   0  data"
                        : extent.kind == ExtentKind::kZero ? "   2  zero"
                                                           : "   3  hole,zero");
  }
  return text;
}

/// Blanks are nbdinfo's to choose.
std::string Squeeze(const std::string& text) {
  std::string squeezed;
  for (const char c : text) {
    if (c != ' ') {
      squeezed.push_back(c);
    } else if (!squeezed.empty() && squeezed.back() != ' ' && squeezed.back() != '\n') {
      squeezed.push_back(' ');
    }
  }
  return squeezed;
}

TEST(NbdImage, ListsTheExtentsOfASparseExport) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  VMFERRY_NEEDS_TOOL("nbdinfo");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(server.StartNbdkit(
      dir.path() / "s", {"sparse-random", "64M", "seed=3", "runlength=100000", "percent=20"}))
      << server.complaint();
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  const std::string judge = Squeeze(MapOf(UriOf(dir.path() / "s")));
  EXPECT_NE(judge.find("hole"), std::string::npos);
  EXPECT_EQ(Squeeze(MapOf(**disk, 64 * kMiB)), judge);
  EXPECT_EQ(Squeeze(MapOf(**disk, 1000001)), judge);
}

TEST(NbdImage, TellsDataZeroAndHoleOfAQcow2) {
  VMFERRY_NEEDS_TOOL("qemu-nbd");
  VMFERRY_NEEDS_TOOL("qemu-io");
  VMFERRY_NEEDS_TOOL("nbdinfo");
  TempDir dir;
  const std::string file = (dir.path() / "d.qcow2").string();
  ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "qcow2", file, "5G"}).ok());
  ASSERT_TRUE(RunTool({"qemu-io", "-f", "qcow2", "-c", "write -P 7 64k 192k", "-c",
                       "write -z 1M 64k", "-c", "write -P 9 4G 64k", file})
                  .ok());
  NbdServer server;
  const std::filesystem::path socket = dir.path() / "s";
  ASSERT_TRUE(
      server.Start({"qemu-nbd", "-r", "--fork", "-t", "-e", "8", "-x", "x", "-f", "qcow2", "-k",
                    socket.string(), "--pid-file", (dir.path() / "pid").string(), file},
                   dir.path() / "pid"))
      << server.complaint();
  EXPECT_EQ(ReasonOf(Open(UriOf(socket, "other"))), "nbd.refused");
  const auto disk = Open(UriOf(socket, "x"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  const auto extents = (*disk)->Extents(0, 2 * kMiB);
  ASSERT_TRUE(extents);
  const std::vector<Extent> expected = {{0, 64 * kKiB, ExtentKind::kHole},
                                        {64 * kKiB, 192 * kKiB, ExtentKind::kData},
                                        {256 * kKiB, 768 * kKiB, ExtentKind::kHole},
                                        {1024 * kKiB, 64 * kKiB, ExtentKind::kZero},
                                        {1088 * kKiB, 960 * kKiB, ExtentKind::kHole}};
  // qemu reports written zeroes as holes, too, where it keeps no cluster for them.
  EXPECT_EQ(Squeeze(MapOf(**disk, 5 * kGiB)), Squeeze(MapOf(UriOf(socket, "x"))));
  EXPECT_EQ((*extents)[1], expected[1]);
  Bytes bytes(64 * kKiB);
  ASSERT_TRUE((*disk)->Read(4 * kGiB, bytes));
  EXPECT_EQ(bytes.back(), std::byte{9});
}

TEST(NbdImage, RandomWritesAreReadBackProperty) {
  VMFERRY_NEEDS_TOOL("qemu-nbd");
  VMFERRY_NEEDS_TOOL("qemu-io");
  constexpr std::uint64_t kSeed = 20;
  constexpr std::uint64_t kSize = 3 * kMiB + 512;
  testing::FakeRandom random(kSeed);
  const auto next = [&] {
    std::array<std::byte, 8> bytes{};
    random.Fill(bytes);
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  };
  TempDir dir;
  const std::string file = (dir.path() / "d.qcow2").string();
  ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", file,
                       std::to_string(kSize)})
                  .ok());
  Bytes oracle(kSize);
  std::vector<std::string> writes = {"qemu-io", "-f", "qcow2"};
  for (int i = 0; i < 40; ++i) {
    const std::uint64_t offset = next() % (kSize / 512) * 512;
    const std::uint64_t length = std::min<std::uint64_t>((1 + next() % 60) * 512, kSize - offset);
    const auto pattern = static_cast<unsigned>(next() % 3 == 0 ? 0 : 1 + next() % 255);
    writes.emplace_back("-c");
    writes.push_back(pattern == 0 ? fmt::format("write -z {} {}", offset, length)
                                  : fmt::format("write -P {} {} {}", pattern, offset, length));
    std::fill_n(oracle.begin() + static_cast<std::ptrdiff_t>(offset), length,
                static_cast<std::byte>(pattern));
  }
  writes.push_back(file);
  ASSERT_TRUE(RunTool(writes).ok());
  NbdServer server;
  ASSERT_TRUE(
      server.Start({"qemu-nbd", "-r", "--fork", "-t", "-e", "8", "-f", "qcow2", "-k",
                    (dir.path() / "s").string(), "--pid-file", (dir.path() / "pid").string(), file},
                   dir.path() / "pid"));
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  Bytes whole(kSize);
  ASSERT_TRUE((*disk)->Read(0, whole));
  EXPECT_TRUE(whole == oracle) << "seed " << kSeed;
  Bytes split(kSize);
  for (std::uint64_t at = 0; at < kSize;) {
    const std::uint64_t length = std::min<std::uint64_t>(1 + next() % 100000, kSize - at);
    ASSERT_TRUE((*disk)->Read(at, std::span(split).subspan(at, length)));
    at += length;
  }
  EXPECT_TRUE(split == oracle) << "seed " << kSeed;
  const auto extents = (*disk)->Extents(0, kSize);
  ASSERT_TRUE(extents);
  std::uint64_t at = 0;
  for (const Extent& extent : *extents) {
    ASSERT_EQ(extent.offset_bytes, at);
    at += extent.length_bytes;
    if (extent.kind == ExtentKind::kData) continue;
    for (std::uint64_t i = extent.offset_bytes; i < at; ++i) {
      ASSERT_EQ(oracle[i], std::byte{0}) << i << " seed " << kSeed;
    }
  }
  EXPECT_EQ(at, kSize);
}

TEST(NbdImage, WithoutTheContextAllIsData) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(
      server.StartNbdkit(dir.path() / "s", {"--filter=noextents", "--no-sr", "memory", "8M"}));
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  const auto extents = (*disk)->Extents(3, 4 * kMiB);
  ASSERT_TRUE(extents);
  EXPECT_EQ(*extents, std::vector<Extent>({{3, 4 * kMiB, ExtentKind::kData}}));
}

TEST(NbdImage, RefusesEmptyAndTinyExports) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"null", "0"}));
  EXPECT_EQ(ReasonOf(Open(UriOf(dir.path() / "s"))), "image.empty");
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"null", "511"}));
  EXPECT_EQ(ReasonOf(Open(UriOf(dir.path() / "s"))), "image.too_small");
}

TEST(NbdImage, SaysWhenTheServerCannotRead) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  const std::string trigger = (dir.path() / "broken").string();
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s",
                                 {"--filter=error", "pattern", "4M", "error-pread=EIO",
                                  "error-pread-rate=100%", "error-pread-file=" + trigger}));
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  ExpectPattern(**disk, 0, 4096);
  std::ofstream(trigger) << "x";
  Bytes bytes(3 * kMiB);
  const auto read = (*disk)->Read(0, bytes);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason(), "nbd.read_failed");
  EXPECT_EQ(read.error().retry(), Retry::kNever);
  std::filesystem::remove(trigger);
  ExpectPattern(**disk, 0, 4096);
}

TEST(NbdImage, GivesUpOnAServerThatStalls) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  // A server for each: nbdkit sometimes resets the connection that follows one given up.
  for (const bool extents : {false, true}) {
    TempDir dir;
    NbdServer server;
    ASSERT_TRUE(server.StartNbdkit(
        dir.path() / "s",
        {"--filter=delay", "memory", "4M", extents ? "delay-extents=30" : "delay-read=30"}));
    const auto disk = Open(UriOf(dir.path() / "s"), {.request = milliseconds(1000)});
    ASSERT_TRUE(disk) << disk.error().ToString();
    Bytes bytes(3 * kMiB);
    const Result<void> outcome =
        extents ? Result<void>((*disk)->Extents(0, kMiB).error()) : (*disk)->Read(0, bytes);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().reason(), "nbd.timeout") << outcome.error().ToString();
  }
}

TEST(NbdImage, GivesUpOnASilentSocket) {
  TempDir dir;
  const std::string path = (dir.path() / "s").string();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  EXPECT_EQ(ReasonOf(Open(UriOf(path), {.connect = milliseconds(50)})), "nbd.timeout");
  ::close(fd);
  EXPECT_EQ(ReasonOf(Open(UriOf(path))), "nbd.connect");
  EXPECT_EQ(ReasonOf(Open(UriOf(path + "absent"))), "nbd.connect");
}

TEST(NbdImage, ConnectsAnewWhenTheServerWasRestarted) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  TempDir dir;
  NbdServer server;
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"pattern", "4M"}));
  const auto disk = Open(UriOf(dir.path() / "s"));
  ASSERT_TRUE(disk) << disk.error().ToString();
  ExpectPattern(**disk, 0, 4096);
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"pattern", "4M"}));
  ExpectPattern(**disk, 4096, 4096);
  ASSERT_TRUE(server.StartNbdkit(dir.path() / "s", {"pattern", "8M"}));
  Bytes bytes(512);
  const auto changed = (*disk)->Read(0, bytes);
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().reason(), "nbd.changed");
  server.Stop();
  const auto gone = (*disk)->Read(0, bytes);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().reason(), "nbd.connect");
}

/// How many connections four threads used, by nbdkit's own log.
std::size_t ConnectionsOfFourThreads(std::vector<std::string> more) {
  TempDir dir;
  NbdServer server;
  const std::filesystem::path log = dir.path() / "log";
  std::vector<std::string> arguments = {
      "--filter=log", "--filter=multi-conn", "--filter=delay",         "pattern",
      "4M",           "delay-read=20ms",     "logfile=" + log.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  EXPECT_TRUE(server.StartNbdkit(dir.path() / "s", std::move(arguments))) << server.complaint();
  const auto disk = Open(UriOf(dir.path() / "s"));
  EXPECT_TRUE(disk) << disk.error().ToString();
  if (!disk) return 0;
  ExpectPattern(**disk, 0, 4096);
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 0; i < 6; ++i) {
      threads.emplace_back([&disk, i] {
        for (std::uint64_t k = 0; k < 3; ++k) ExpectPattern(**disk, (i * 3 + k) * 4096, 4096);
      });
    }
  }
  std::ifstream in(log);
  std::size_t count = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.find(" Connect ") != std::string::npos) ++count;
  }
  return count;
}

TEST(NbdImage, ThreadsReadOverSeveralConnectionsWhenTheServerSaysSo) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  EXPECT_EQ(ConnectionsOfFourThreads({}), 4U);
  EXPECT_EQ(ConnectionsOfFourThreads({"multi-conn-mode=disable"}), 1U);
}

/// A throw-away CA and a server certificate for `localhost`, as libnbd and nbdkit name the files.
bool MakeCertificates(const std::filesystem::path& dir) {
  const auto file = [&](const char* name) { return (dir / name).string(); };
  std::ofstream(dir / "ext") << "subjectAltName=DNS:localhost\n";
  return RunTool({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                  "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test-ca",
                  "-keyout", file("ca-key.pem"), "-out", file("ca-cert.pem")})
             .ok() &&
         RunTool({"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                  "-nodes", "-subj", "/CN=localhost", "-keyout", file("server-key.pem"), "-out",
                  file("server.csr")})
             .ok() &&
         RunTool({"openssl", "x509", "-req", "-days", "2", "-in", file("server.csr"), "-CA",
                  file("ca-cert.pem"), "-CAkey", file("ca-key.pem"), "-CAcreateserial", "-extfile",
                  file("ext"), "-out", file("server-cert.pem")})
             .ok();
}

TEST(NbdImage, SpeaksTlsAndChecksTheServer) {
  VMFERRY_NEEDS_TOOL("nbdkit");
  VMFERRY_NEEDS_TOOL("openssl");
  TempDir dir;
  ASSERT_TRUE(MakeCertificates(dir.path()));
  NbdServer server;
  const int port = testing::FreePort();
  const std::string pid_file = (dir.path() / "pid").string();
  ASSERT_TRUE(
      server.Start({"nbdkit", "-i", "127.0.0.1", "-p", std::to_string(port), "-P", pid_file,
                    "--tls=require", "--tls-certificates=" + dir.path().string(), "pattern", "1M"},
                   pid_file))
      << server.complaint();
  const std::string at = ":" + std::to_string(port) + "/";
  const std::string trust = "?tls-certificates=" + dir.path().string();
  const auto disk = Open("nbds://localhost" + at + trust);
  ASSERT_TRUE(disk) << disk.error().ToString();
  EXPECT_EQ((*disk)->Info().details.back().second, "yes");
  ExpectPattern(**disk, 0, 100000);
  // Unknown to the system's certificates; not the host it was made for; no TLS at all.
  EXPECT_EQ(ReasonOf(Open("nbds://localhost" + at)), "nbd.tls");
  EXPECT_EQ(ReasonOf(Open("nbds://127.0.0.1" + at + trust)), "nbd.tls");
  EXPECT_EQ(ReasonOf(Open("nbd://localhost" + at)), "nbd.tls");
  EXPECT_EQ(ReasonOf(Open("nbds://localhost" + at + "?tls-certificates=/absent")), "nbd.tls");
  std::filesystem::create_directory(dir / "broken");
  std::ofstream(dir / "broken" / "ca-cert.pem") << "no certificate";
  EXPECT_EQ(
      ReasonOf(Open("nbds://localhost" + at + "?tls-certificates=" + (dir / "broken").string())),
      "nbd.tls");
  // A server without TLS is not talked to in the clear.
  ASSERT_TRUE(server.Start(
      {"nbdkit", "-i", "127.0.0.1", "-p", std::to_string(port), "-P", pid_file, "pattern", "1M"},
      pid_file));
  EXPECT_EQ(ReasonOf(Open("nbds://localhost" + at + trust)), "nbd.tls");
}

}  // namespace
}  // namespace vmferry::image::nbd
