#define _GNU_SOURCE
#include "dense.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

// A job is (function, context, parts) under a generation number. Lanes claim parts by compare-and-swap on
// `claim` = generation << 32 | next part, so a lane that the scheduler left behind finds nothing to claim and nobody waits
// for it. Function and context can only change once every part is done, and a successful claim proves that its part is not.
struct amaf_lanes {
  int lanes;
  pthread_t *threads;
  pthread_mutex_t owner;   // one job at a time
  pthread_mutex_t sleep;
  pthread_cond_t wake, finished;
  _Atomic uint64_t claim;
  _Atomic size_t parts, done;
  _Atomic(amaf_part) function;
  _Atomic(void *) context;
  _Atomic int stop, sleepers, caller_sleeps;
};

typedef struct { amaf_lanes *pool; size_t lane; } start_info;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void work(amaf_lanes *p, uint32_t generation, size_t lane) {
  for (;;) {
    uint64_t seen = atomic_load_explicit(&p->claim, memory_order_acquire);
    if ((uint32_t)(seen >> 32) != generation) return;
    size_t parts = atomic_load_explicit(&p->parts, memory_order_relaxed);
    amaf_part function = atomic_load_explicit(&p->function, memory_order_relaxed);
    void *context = atomic_load_explicit(&p->context, memory_order_relaxed);
    size_t part = (uint32_t)seen;
    if (part >= parts) return;
    if (!atomic_compare_exchange_weak_explicit(&p->claim, &seen, seen + 1, memory_order_acq_rel, memory_order_relaxed)) continue;
    function(context, part, lane);
    if (atomic_fetch_add(&p->done, 1) + 1 == parts && atomic_load(&p->caller_sleeps)) {
      pthread_mutex_lock(&p->sleep);
      pthread_cond_signal(&p->finished);
      pthread_mutex_unlock(&p->sleep);
    }
  }
}

// About 30 microseconds: longer than the gap between two kernels of one network, short enough not to starve a neighbour.
enum { SPINS = 1000 };

static void *lane_main(void *argument) {
  start_info info = *(start_info *)argument;
  free(argument);
  amaf_lanes *p = info.pool;
  uint32_t seen = 0;
  for (;;) {
    uint32_t now = seen;
    for (int i = 0; i < SPINS && now == seen; i++) {
      pause_briefly();
      now = (uint32_t)(atomic_load_explicit(&p->claim, memory_order_acquire) >> 32);
    }
    if (now == seen) {
      pthread_mutex_lock(&p->sleep);
      atomic_fetch_add(&p->sleepers, 1);
      while ((now = (uint32_t)(atomic_load(&p->claim) >> 32)) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->sleep);
      atomic_fetch_sub(&p->sleepers, 1);
      pthread_mutex_unlock(&p->sleep);
    }
    if (atomic_load(&p->stop)) return 0;
    seen = now;
    work(p, seen, info.lane);
  }
}

amaf_lanes *amaf_lanes_create(int lanes) {
  amaf_lanes *p = calloc(1, sizeof *p);
  p->lanes = lanes < 1 ? 1 : lanes;
  pthread_mutex_init(&p->owner, 0);
  pthread_mutex_init(&p->sleep, 0);
  pthread_cond_init(&p->wake, 0);
  pthread_cond_init(&p->finished, 0);
  p->threads = calloc((size_t)p->lanes, sizeof(pthread_t));
  for (int i = 1; i < p->lanes; i++) {
    start_info *info = malloc(sizeof *info);
    info->pool = p;
    info->lane = (size_t)i;
    if (pthread_create(&p->threads[i], 0, lane_main, info) != 0) {
      // Fewer lanes give the same bits, only later.
      free(info);
      p->lanes = i;
      break;
    }
  }
  return p;
}

void amaf_lanes_destroy(amaf_lanes *p) {
  pthread_mutex_lock(&p->sleep);
  atomic_store(&p->stop, 1);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->sleep);
  for (int i = 1; i < p->lanes; i++) pthread_join(p->threads[i], 0);
  pthread_mutex_destroy(&p->owner);
  pthread_mutex_destroy(&p->sleep);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->finished);
  free(p->threads);
  free(p);
}

void amaf_lanes_run(amaf_lanes *p, size_t parts, amaf_part function, void *context) {
  pthread_mutex_lock(&p->owner);
  if (p->lanes == 1 || parts <= 1) {
    for (size_t i = 0; i < parts; i++) function(context, i, 0);
    pthread_mutex_unlock(&p->owner);
    return;
  }
  // A lane that still looks at the last job must not match its claim with the new number of parts: retire that claim first.
  uint32_t generation = (uint32_t)(atomic_load(&p->claim) >> 32) + 2;
  atomic_store(&p->claim, (uint64_t)(generation - 1) << 32 | 0xFFFFFFFFu);
  atomic_store_explicit(&p->parts, parts, memory_order_relaxed);
  atomic_store_explicit(&p->function, function, memory_order_relaxed);
  atomic_store_explicit(&p->context, context, memory_order_relaxed);
  atomic_store_explicit(&p->done, 0, memory_order_relaxed);
  atomic_store(&p->claim, (uint64_t)generation << 32);
  if (atomic_load(&p->sleepers)) {
    pthread_mutex_lock(&p->sleep);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->sleep);
  }
  work(p, generation, 0);
  for (int i = 0; i < SPINS && atomic_load_explicit(&p->done, memory_order_acquire) < parts; i++) pause_briefly();
  if (atomic_load_explicit(&p->done, memory_order_acquire) < parts) {
    pthread_mutex_lock(&p->sleep);
    atomic_store(&p->caller_sleeps, 1);
    while (atomic_load(&p->done) < parts) pthread_cond_wait(&p->finished, &p->sleep);
    atomic_store(&p->caller_sleeps, 0);
    pthread_mutex_unlock(&p->sleep);
  }
  pthread_mutex_unlock(&p->owner);
}

void *amaf_allocate(size_t bytes) {
  size_t huge = (size_t)2 << 20;
  size_t alignment = bytes >= 2 * huge ? huge : 4096;
  void *memory = 0;
  if (posix_memalign(&memory, alignment, bytes < 1 ? 1 : bytes) != 0) return 0;
#ifdef MADV_HUGEPAGE
  if (alignment == huge) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

void amaf_deallocate(void *memory) { free(memory); }

int amaf_available_lanes(void) {
  int processors = 1;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) processors = CPU_COUNT(&set);
#endif
  const char *limit = getenv("AMAF_LANES");
  int lanes = limit ? atoi(limit) : 0;
  return lanes > 0 && lanes < processors ? lanes : processors;
}

double amaf_processor_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *amaf_instruction_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
  return "x86-64";
#else
  return "generic";
#endif
}
