// SPDX-License-Identifier: Apache-2.0
//
// Instances as EC2 describes them: what Describe* and RunInstances write, and what filters see.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {

/// What several operations read at once.
struct InstanceListing {
  std::vector<vm::Instance> instances;                                  ///< by id
  std::map<std::string, std::vector<vm::Volume>, std::less<>> volumes;  ///< by instance
  std::map<std::string, vm::TagMap, std::less<>> tags;

  const vm::TagMap& TagsOf(std::string_view id) const;
  const std::vector<vm::Volume>& VolumesOf(std::string_view id) const;
};
Result<InstanceListing> ListInstances(World& world);

/// Compares instances with ids, for binary searches.
struct ById {
  bool operator()(const vm::Instance& instance, const std::string& id) const {
    return instance.id < id;
  }
  bool operator()(const std::string& id, const vm::Instance& instance) const {
    return id < instance.id;
  }
};

/// Values of EC2's filter names for an instance. A name without value here is not modelled.
std::optional<std::vector<std::string>> InstanceFilterValues(const vm::Instance& instance,
                                                             const InstanceListing& listing,
                                                             const Settings& settings,
                                                             std::string_view name);

/// <ELEMENT><code/><name/></ELEMENT>
void WriteInstanceState(std::string_view element, vm::InstanceState state, text::XmlWriter& reply);

/// <blockDeviceMapping>: the volumes that are attached, in that order.
void WriteBlockDevices(const std::vector<vm::Volume>& volumes, text::XmlWriter& reply);

/// reservationId, ownerId, groupSet, instancesSet.
void WriteReservation(std::string_view reservation,
                      const std::vector<const vm::Instance*>& instances,
                      const InstanceListing& listing, const Settings& settings,
                      text::XmlWriter& reply);

}  // namespace vmferry::region::ec2
