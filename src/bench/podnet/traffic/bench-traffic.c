/*
 * Traffic between pods, several ways by turns: what else the machine does meanwhile meets all of them alike.
 *
 *   bench-traffic echo ROUNDS COUNT WAY...     COUNT requests of one byte and their answers, a turn
 *   bench-traffic bulk ROUNDS COUNT WAY...     COUNT megabytes, a turn
 *   WAY is CLIENT-NETNS SERVER-NETNS SERVER-ADDRESS
 *
 * Over one TCP connection for each way, both ends of which are this process: on veth pairs a packet goes the whole way
 * within send(2), so that no scheduler has a part in it, and the processor's time of this process is that of the way,
 * both nodes included. (Not where a worker carries packets: its time is its own.)
 * Prints a line for each way and round: nanoseconds and nanoseconds of the processor, for echo the median of the turn's
 * requests and the mean, for bulk those of a megabyte.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 7001
#define WAYS_MAX 16
#define CHUNK 65536
#define MEGABYTE 1000000
#define PATIENCE_MS 5000

struct way {
  int client, server;
};

static char chunk[CHUNK];

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void enter(const char *netns) {
  int fd = open(netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) fail(netns);
  close(fd);
}

static int tcp_socket(void) {
  const int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static struct way open_way(const char *client, const char *server, const char *address) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) {
    errno = EINVAL;
    fail(address);
  }
  struct way way;
  enter(server);
  int listener = tcp_socket();
  if (bind(listener, (struct sockaddr *)&to, sizeof to) < 0 || listen(listener, 1) < 0) fail("listen");
  enter(client);
  way.client = tcp_socket();
  if (connect(way.client, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
  way.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (way.server < 0) fail("accept");
  close(listener);
  return way;
}

static uint64_t now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void pass_byte(int from, int to) {
  char byte = 'x';
  if (send(from, &byte, 1, 0) != 1) fail("send");
  if (recv(to, &byte, 1, 0) != 1) fail("recv");
}

static void echo(struct way way, int count) {
  uint64_t *times = calloc((size_t)count, sizeof *times);
  if (times == NULL) fail("calloc");
  uint64_t used = now(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < count; i++) {
    uint64_t start = now(CLOCK_MONOTONIC);
    pass_byte(way.client, way.server);
    pass_byte(way.server, way.client);
    times[i] = now(CLOCK_MONOTONIC) - start;
  }
  used = (now(CLOCK_PROCESS_CPUTIME_ID) - used) / (uint64_t)count;
  qsort(times, (size_t)count, sizeof *times, compare);
  printf("%lu %lu\n", times[count / 2], used);
  free(times);
}

static void bulk(struct way way, int megabytes) {
  const size_t total = (size_t)megabytes * MEGABYTE;
  size_t sent = 0, received = 0;
  uint64_t start = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
  while (received < total) {
    ssize_t out = 0, in;
    if (sent < total) out = send(way.client, chunk, total - sent < CHUNK ? total - sent : CHUNK, MSG_DONTWAIT);
    if (out > 0) sent += (size_t)out;
    in = recv(way.server, chunk, sizeof chunk, MSG_DONTWAIT);
    if (in > 0) received += (size_t)in;
    if (out > 0 || in > 0) continue;
    struct pollfd ready[2] = {{way.server, POLLIN, 0}, {sent < total ? way.client : -1, POLLOUT, 0}};
    if (poll(ready, 2, PATIENCE_MS) == 0) {
      errno = ETIMEDOUT;
      fail("bulk");
    }
  }
  printf("%lu %lu\n", (now(CLOCK_MONOTONIC) - start) / (uint64_t)megabytes,
         (now(CLOCK_PROCESS_CPUTIME_ID) - used) / (uint64_t)megabytes);
}

int main(int count, char **arguments) {
  int ways = (count - 4) / 3;
  if (count < 7 || (count - 4) % 3 != 0 || ways > WAYS_MAX) {
    fputs("usage: bench-traffic echo|bulk ROUNDS COUNT {CLIENT-NETNS SERVER-NETNS SERVER-ADDRESS}...\n", stderr);
    return 2;
  }
  void (*measure)(struct way, int) = strcmp(arguments[1], "echo") == 0 ? echo : bulk;
  struct way open[WAYS_MAX];
  for (int i = 0; i < ways; i++) open[i] = open_way(arguments[4 + 3 * i], arguments[5 + 3 * i], arguments[6 + 3 * i]);
  for (int round = 0; round < atoi(arguments[2]); round++)
    for (int i = 0; i < ways; i++) measure(open[i], atoi(arguments[3]));
}
