#include "parallel/cluster.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "parallel/make_communicator.h"
#include "parallel/membership.h"
#include "parallel/peer_memory.h"

namespace trireme {
namespace {

constexpr int kPieceBytes = 1 << 30;   // MPI counts in int

// A RankFacts as it travels: fixed size, no pointers.
struct WireFacts {
  int32_t tp, pp, on_cuda, expected_world, node, visible_gpus;
  std::array<char, 256> host;
  std::array<char, 64> gpu, nccl_host;
};

template <size_t kSize>
void put_text(std::array<char, kSize>& out, const std::string& text) {
  out.fill('\0');
  std::copy_n(text.begin(), std::min(text.size(), kSize - 1), out.begin());
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown-host";
}

// Slurm's count of the tasks it started as this job step, where no mpirun stands between.
int tasks_of_srun() {
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return tasks && !std::getenv("OMPI_COMM_WORLD_SIZE") ? std::atoi(tasks) : 0;
}

int lowest_rank_sharing_memory(MPI_Comm world, int rank) {
  MPI_Comm shared = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &shared));
  int lowest = rank;
  MPI_CHECK(MPI_Bcast(&lowest, 1, MPI_INT, 0, shared));
  MPI_CHECK(MPI_Comm_free(&shared));
  return lowest;
}

// TRIREME_SHARE_GPUS=1: several ranks on one GPU, to test worlds for which a machine has too few. NCCL takes them only
// as if each were on a host of its own, and talks through sockets: correct, and very slow.
bool gpus_are_shared() {
  const char* wish = std::getenv("TRIREME_SHARE_GPUS");
  return wish && std::string_view(wish) == "1";
}

void share_gpu(RankFacts& own, int rank) {
  const std::string name = "rank " + std::to_string(rank);
  own.gpu = name + "'s share of " + own.gpu;
  setenv("NCCL_HOSTID", name.c_str(), 1);  // before NCCL starts in this process
}

// A stage's receives are posted early and wait on the GPU. With CUDA's 8 queues a stream that computes could share one
// with them and wait, too. Read by the driver when it starts.
void keep_streams_apart() { setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", /*overwrite=*/0); }

}  // namespace

struct Cluster::State {
  MpiSession mpi;                       // first in, last out
  MpiGroup world{MPI_COMM_WORLD, 0, 0};
  IdleHook idle;
  std::vector<RankFacts> facts;         // by rank
  std::vector<std::string> hosts;
  Topology topology;
  Device device;
  int local_rank = 0, num_nodes = 1;
  std::unique_ptr<Communicator> tp_group, feedback;
  std::unique_ptr<Communicator> links[2];   // of the boundary behind stage s: links[s % 2]
  std::unique_ptr<PeerMemory> peer_memory;  // may be null
  std::unique_ptr<ControlChannel> control;

  void gather_facts(const ClusterOptions& options);
  void exchange_facts(const RankFacts& own);
  void make_channels(bool share_memory);
  void wait(MPI_Request request, const char* operation);
};

void Cluster::State::wait(MPI_Request request, const char* operation) {
  const auto done = [&] {
    int flag = 0;
    MPI_CHECK(MPI_Test(&request, &flag, MPI_STATUS_IGNORE));
    return flag != 0;
  };
  wait_until(done, operation, idle);
}

void Cluster::State::exchange_facts(const RankFacts& own) {
  WireFacts wire{own.tp, own.pp, own.on_cuda, own.expected_world, own.node, own.visible_gpus, {}, {}, {}};
  put_text(wire.host, own.host);
  put_text(wire.gpu, own.gpu);
  put_text(wire.nccl_host, own.nccl_host);
  std::vector<WireFacts> all(size_t(world.size()));
  MPI_Request request;
  constexpr int kBytes = int(sizeof wire);
  MPI_CHECK(MPI_Iallgather(&wire, kBytes, MPI_BYTE, all.data(), kBytes, MPI_BYTE, world.comm(), &request));
  wait(request, "exchange of facts");
  facts.clear();
  for (const WireFacts& w : all)
    facts.push_back({w.tp, w.pp, w.on_cuda != 0, w.expected_world, w.host.data(), w.node, w.visible_gpus, w.gpu.data(),
                     w.nccl_host.data()});
}

void Cluster::State::gather_facts(const ClusterOptions& options) {
  RankFacts own;
  own.tp = options.tp;
  own.pp = options.pp;
  own.on_cuda = options.device == DeviceKind::cuda;
  own.expected_world = std::max(options.expected_world, tasks_of_srun());
  own.host = host_name();
  if (const char* host = std::getenv("NCCL_HOSTID"); host && !gpus_are_shared()) own.nccl_host = host;
  own.node = lowest_rank_sharing_memory(world.comm(), world.rank());
  exchange_facts(own);
  settle_nodes(facts);
  own.node = facts[size_t(world.rank())].node;
  local_rank = local_rank_of(facts, world.rank());
  if (own.on_cuda && own.pp > 1) keep_streams_apart();
  if (own.on_cuda) own.visible_gpus = cuda_device_count();
  device = own.visible_gpus > 0 ? Device{DeviceKind::cuda, local_rank % own.visible_gpus} : kCpu;
  if (device.is_cuda()) own.gpu = gpu_identity(device.index);
  if (device.is_cuda() && gpus_are_shared()) share_gpu(own, world.rank());
  exchange_facts(own);
  for (size_t rank = 0; rank < facts.size(); ++rank) hosts.push_back(facts[rank].host);
  num_nodes = 0;
  for (size_t rank = 0; rank < facts.size(); ++rank) num_nodes += facts[rank].node == int(rank);
}

void Cluster::State::make_channels(bool share_memory) {
  const int tp_rank = topology.tp_rank(), stage = topology.stage();
  const auto make = [&](int color, int key, GroupUse use) {
    rank_progress().tick("joining peers");
    return make_communicator(MpiGroup(world.comm(), color, key), device, use, idle);
  };
  tp_group = make(stage, tp_rank, GroupUse::collectives);
  if (share_memory) peer_memory = PeerMemory::make(MpiGroup(world.comm(), stage, tp_rank), device, idle);
  for (int parity : {0, 1})   // stages s and s + 1 are a group where s has this parity
    links[parity] = make(tp_rank * (topology.pp() + 1) + (stage + parity) / 2, stage, GroupUse::pipeline);
  feedback = make(tp_rank, stage, GroupUse::pipeline);
  control = make_control_channel(MpiGroup(world.comm(), 0, world.rank()));
  rank_progress().tick("joined peers");
}

Cluster::Cluster(const ClusterOptions& options) {
  rank_progress().phase = Phase::joining;
  rank_progress().tick("starting MPI");
  state_ = std::make_unique<State>();
  try {
    state_->gather_facts(options);
    check_membership(state_->facts);
  } catch (const ConfigError&) {
    state_.reset();   // all ranks throw this together, so MPI can end in order
    throw;
  }
  state_->topology = Topology(state_->world.size(), options.tp, options.pp, state_->world.rank());
  set_current_device(state_->device);
  state_->make_channels(options.peer_memory);
}

Cluster::~Cluster() = default;

const Topology& Cluster::topology() const { return state_->topology; }
Device Cluster::device() const { return state_->device; }
int Cluster::local_rank() const { return state_->local_rank; }
int Cluster::num_nodes() const { return state_->num_nodes; }
const std::vector<std::string>& Cluster::hosts() const { return state_->hosts; }
Communicator& Cluster::tp_group() { return *state_->tp_group; }
const PeerBuffers* Cluster::tp_peers() const {
  return state_->peer_memory ? &state_->peer_memory->buffers() : nullptr;
}
Communicator& Cluster::from_previous_stage() { return *state_->links[(state_->topology.stage() + 1) % 2]; }
Communicator& Cluster::to_next_stage() { return *state_->links[state_->topology.stage() % 2]; }
Communicator& Cluster::pipeline_feedback() { return *state_->feedback; }
ControlChannel& Cluster::control() { return *state_->control; }
void Cluster::set_idle_hook(IdleHook hook) { state_->idle = std::move(hook); }

void Cluster::check_health() {
  tp_group().check_health();
  CHECK(!tp_peers() || !tp_peers()->failed()) << "a rank of the tensor-parallel group did not come to a sum in time";
  from_previous_stage().check_health();
  to_next_stage().check_health();
  pipeline_feedback().check_health();
}

int64_t Cluster::all_minimum(int64_t value) {
  int64_t result = 0;
  MPI_Request request;
  MPI_CHECK(MPI_Iallreduce(&value, &result, 1, MPI_INT64_T, MPI_MIN, state_->world.comm(), &request));
  state_->wait(request, "all_minimum");
  return result;
}

std::vector<std::byte> Cluster::broadcast_bytes(std::vector<std::byte> bytes, int root) {
  int64_t size = int64_t(bytes.size());
  MPI_Request request;
  MPI_CHECK(MPI_Ibcast(&size, 1, MPI_INT64_T, root, state_->world.comm(), &request));
  state_->wait(request, "broadcast_bytes");
  bytes.resize(size_t(size));
  for (int64_t at = 0; at < size; at += kPieceBytes) {
    const int piece = int(std::min<int64_t>(kPieceBytes, size - at));
    MPI_CHECK(MPI_Ibcast(bytes.data() + at, piece, MPI_BYTE, root, state_->world.comm(), &request));
    state_->wait(request, "broadcast_bytes");
  }
  return bytes;
}

std::vector<std::string> Cluster::gather_text(const std::string& text) {
  const MpiGroup& world = state_->world;
  const int64_t length = int64_t(text.size());
  std::vector<int64_t> lengths(size_t(world.size()));
  MPI_Request request;
  MPI_CHECK(MPI_Iallgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, world.comm(), &request));
  state_->wait(request, "gather_text");
  std::vector<std::string> texts;
  Transfers transfers;
  constexpr int kTextTag = 3;
  if (world.rank() != 0) {
    transfers.send(world, text.data(), length, 0, kTextTag);
  } else {
    for (int64_t bytes : lengths) texts.emplace_back(size_t(bytes), '\0');
    texts[0] = text;
    for (int rank = 1; rank < world.size(); ++rank)
      transfers.receive(world, texts[size_t(rank)].data(), lengths[size_t(rank)], rank, kTextTag);
  }
  transfers.wait("gather_text", state_->idle);
  return texts;
}

void Cluster::barrier() {
  MPI_Request request;
  MPI_CHECK(MPI_Ibarrier(state_->world.comm(), &request));
  state_->wait(request, "barrier");
}

}  // namespace trireme
