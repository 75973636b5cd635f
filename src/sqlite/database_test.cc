// SPDX-License-Identifier: Apache-2.0
#include "sqlite/database.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/byte_reader.h"
#include "testing/temp_dir.h"

namespace vmferry::sqlite {
namespace {

constexpr Migration kMigrations[] = {
    {1, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB)"},
    {2, "ALTER TABLE t ADD COLUMN size INTEGER"},
};

TEST(Connection, KeepsValuesOfEachKind) {
  const testing::TempDir dir;
  {
    auto connection = Connection::Open(dir / "db");
    ASSERT_TRUE(connection) << connection.error().ToString();
    ASSERT_TRUE(connection->Migrate("test", kMigrations));
    auto insert = connection->Prepare("INSERT INTO t VALUES (?, ?, ?, ?)");
    ASSERT_TRUE(insert);
    ASSERT_TRUE(insert->Bind(1, 7).Bind(2, "").Bind(3, AsBytes("ab")).BindNull(4).Run());
  }
  auto connection = Connection::Open(dir / "db");
  ASSERT_TRUE(connection->Migrate("test", kMigrations));
  auto query = connection->Prepare("SELECT id, name, data, size FROM t");
  ASSERT_TRUE(*query->Step());
  EXPECT_EQ(query->Int(0), 7);
  EXPECT_FALSE(query->IsNull(1));
  EXPECT_EQ(AsText(query->Blob(2)), "ab");
  EXPECT_TRUE(query->IsNull(3));
  EXPECT_FALSE(*query->Step());
}

TEST(Connection, RollsBackAFailedTransaction) {
  const testing::TempDir dir;
  auto connection = Connection::Open(dir / "db");
  ASSERT_TRUE(connection->Migrate("test", kMigrations));
  const auto outcome = connection->Transaction([&]() -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(connection->Execute("INSERT INTO t (id) VALUES (1)"));
    return Error(ErrorCode::kAborted, "test.aborted", "aborted");
  });
  EXPECT_FALSE(outcome);
  auto query = connection->Prepare("SELECT COUNT(*) FROM t");
  ASSERT_TRUE(*query->Step());
  EXPECT_EQ(query->Int(0), 0);
}

TEST(Connection, RefusesANewerSchemaAndDamagedFiles) {
  const testing::TempDir dir;
  {
    auto connection = Connection::Open(dir / "db");
    ASSERT_TRUE(connection->Migrate("test", kMigrations));
    EXPECT_EQ(connection->Migrate("test", std::span(kMigrations).first(1)).error().reason(),
              "sqlite.newer_schema");
  }
  std::ofstream(dir / "bad") << std::string(8192, 'x');
  const auto bad = Connection::Open(dir / "bad");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason(), "sqlite.damaged");
  EXPECT_EQ(Connection::Open(dir / "none" / "db").error().reason(), "sqlite.not_writable");
}

}  // namespace
}  // namespace vmferry::sqlite
