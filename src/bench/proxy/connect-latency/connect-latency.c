/*
 * Measures how long TCP connections take to be set up, without anything else in the way.
 *
 *   connect-latency connect|answer SERVER-NETNS PORT CLIENT-NETNS ROUNDS COUNT ADDRESS:PORT...
 *
 * Listens on PORT in one network namespace, and from the other one connects to the IPv4 targets by turns, COUNT times
 * each in every of ROUNDS. Both ends are one process: on a veth pair the whole handshake then runs within connect(2),
 * and no scheduler has a part in it. `answer`: until a byte has come back, which another process sends; for a proxy
 * that accepts before it has reached an endpoint.
 *
 * Prints a line for each target and round: ADDRESS:PORT MEDIAN P99, in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Below the default of net.core.somaxconn, so that no SYN is refused. */
#define ACCEPT_EVERY 1000
#define CONNECT_TIMEOUT_SECONDS 5

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void enter(const char *netns) {
  int fd = open(netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) fail(netns);
  close(fd);
}

static int listen_on(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int one = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (listen(fd, 4096) < 0) fail("listen");
  return fd;
}

static void answer_all(int listener) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    if (write(fd, "x", 1) < 0) perror("answer");
    close(fd);
  }
}

static void accept_waiting(int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) close(fd);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t connect_once(const struct sockaddr_in *target, int answered) {
  /* Reset at close: neither a port nor a tracked connection is kept waiting. */
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_SECONDS};
  char byte;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  uint64_t begin = now();
  if (connect(fd, (const struct sockaddr *)target, sizeof *target) < 0) fail("connect");
  if (answered && read(fd, &byte, 1) != 1) fail("no answer");
  uint64_t took = now() - begin;
  close(fd);
  return took;
}

static struct sockaddr_in parse_target(const char *text) {
  struct sockaddr_in target = {.sin_family = AF_INET};
  char address[INET_ADDRSTRLEN];
  unsigned port;
  if (sscanf(text, "%15[0-9.]:%u", address, &port) != 2 || inet_pton(AF_INET, address, &target.sin_addr) != 1) {
    fprintf(stderr, "%s is not an IPv4 address and port\n", text);
    exit(2);
  }
  target.sin_port = htons(port);
  return target;
}

static int ascending(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

int main(int argc, char **argv) {
  if (argc < 8) {
    fprintf(stderr, "usage: %s connect|answer SERVER-NETNS PORT CLIENT-NETNS ROUNDS COUNT ADDRESS:PORT...\n", argv[0]);
    return 2;
  }
  int answered = strcmp(argv[1], "answer") == 0;
  int rounds = atoi(argv[5]), count = atoi(argv[6]);
  uint64_t *times = calloc(count > 0 ? count : 1, sizeof *times);
  if (times == NULL) fail("memory");
  enter(argv[2]);
  int listener = listen_on(atoi(argv[3]));
  pid_t answering = answered ? fork() : -1;
  if (answering == 0) answer_all(listener);
  if (!answered) fcntl(listener, F_SETFL, O_NONBLOCK);
  enter(argv[4]);
  for (int round = 0; round < rounds; round += 1) {
    for (int index = 7; index < argc; index += 1) {
      struct sockaddr_in target = parse_target(argv[index]);
      for (int i = 0; i < count; i += 1) {
        times[i] = connect_once(&target, answered);
        if (!answered && i % ACCEPT_EVERY == ACCEPT_EVERY - 1) accept_waiting(listener);
      }
      if (!answered) accept_waiting(listener);
      qsort(times, count, sizeof *times, ascending);
      printf("%s %llu %llu\n", argv[index], (unsigned long long)times[count / 2],
             (unsigned long long)times[count - 1 - count / 100]);
    }
  }
  if (answering > 0) kill(answering, SIGKILL);
  return 0;
}
