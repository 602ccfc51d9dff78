#include "parallel/peer_memory.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <vector>

#include "base/device_sharing.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"

namespace trireme {
namespace {

// A rank's handle as it travels.
struct Offer {
  int32_t valid = 0;
  MemoryHandle handle{};
};

size_t piece_bytes() {
  const auto bytes = size_t(peer_memory_bytes(kPeerAreaBytes));
  return (bytes + kSharedMemoryUnit - 1) / kSharedMemoryUnit * kSharedMemoryUnit;
}

void wait_for(MPI_Request request, const char* operation, const IdleHook& idle) {
  const auto done = [&] {
    int flag = 0;
    MPI_CHECK(MPI_Test(&request, &flag, MPI_STATUS_IGNORE));
    return flag != 0;
  };
  wait_until(done, operation, idle);
}

bool all_agree(const MpiGroup& group, bool own, const IdleHook& idle) {
  const int32_t mine = own;
  int32_t least = 0;
  MPI_Request request;
  MPI_CHECK(MPI_Iallreduce(&mine, &least, 1, MPI_INT32_T, MPI_MIN, group.comm(), &request));
  wait_for(request, "agreement on peer memory", idle);
  return least != 0;
}

uint64_t wait_in_ms(std::string_view text) {
  constexpr uint64_t kMost = 3'600'000;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMost)
    throw ConfigError(fmt::format("TRIREME_PEER_WAIT_MS must be milliseconds, 1 to {}, got {}", kMost, text));
  return value;
}

}  // namespace

PeerMemory::PeerMemory(MpiGroup group, Device device, const IdleHook& idle)
    : group_(std::move(group)), device_(device), idle_(idle) {
  buffers_.rank = group_.rank();
  buffers_.size = group_.size();
  buffers_.area_bytes = kPeerAreaBytes;
  if (const char* wait = std::getenv("TRIREME_PEER_WAIT_MS")) buffers_.timeout_ns = wait_in_ms(wait) * 1'000'000;
  buffers_.status = static_cast<uint32_t*>(pinned_allocate(sizeof(uint32_t)));
  *buffers_.status = 0;
}

bool PeerMemory::join() {
  const Stream stream(device_);
  own_ = device_allocate(device_, piece_bytes());
  fill_zero_async(own_, piece_bytes(), device_, stream);
  stream.synchronize();
  Offer offer;
  if (const auto handle = export_memory(device_, own_)) offer = {1, *handle};
  std::vector<Offer> offers(static_cast<size_t>(group_.size()));
  MPI_Request request;
  constexpr int kBytes = int(sizeof offer);
  MPI_CHECK(MPI_Iallgather(&offer, kBytes, MPI_BYTE, offers.data(), kBytes, MPI_BYTE, group_.comm(), &request));
  wait_for(request, "exchange of memory handles", idle_);
  bool reached = true;
  for (int rank = 0; rank < group_.size(); ++rank) {
    void* const memory = rank == group_.rank()        ? own_
                         : offers[size_t(rank)].valid ? import_memory(device_, offers[size_t(rank)].handle)
                                                      : nullptr;
    buffers_.memory[size_t(rank)] = static_cast<std::byte*>(memory);
    reached = reached && memory;
  }
  return reached;
}

std::unique_ptr<PeerMemory> PeerMemory::make(MpiGroup group, Device device, const IdleHook& idle) {
  if (device.is_cpu() || group.size() == 1) return nullptr;
  const bool first = group.rank() == 0;
  if (group.size() > kMaxPeers) {
    if (first)
      log_warning("sums over {} ranks go through NCCL: Trireme's own way takes up to {}", group.size(), kMaxPeers);
    return nullptr;
  }
  rank_progress().tick("joining peer memory");
  std::unique_ptr<PeerMemory> memory(new PeerMemory(std::move(group), device, idle));
  if (all_agree(memory->group_, memory->join(), idle)) return memory;
  if (first) log_warning("GPUs of this group cannot reach each other's memory: their sums go through NCCL, slower");
  return nullptr;
}

void PeerMemory::meet(const char* operation) {
  MPI_Request request;
  MPI_CHECK(MPI_Ibarrier(group_.comm(), &request));
  wait_for(request, operation, idle_);
}

PeerMemory::~PeerMemory() {
  if (std::uncaught_exceptions() > 0) return;  // the process is about to end, and others may never come here
  for (int rank = 0; rank < group_.size(); ++rank)
    if (rank != group_.rank()) close_imported_memory(device_, buffers_.memory[size_t(rank)]);
  try {
    meet("leaving peer memory");
  } catch (const std::exception& error) {
    log_warning("leaving peer memory: {}", error.what());
    return;  // a peer may still have it open
  }
  device_free(device_, own_);
  pinned_free(buffers_.status);
}

}  // namespace trireme
