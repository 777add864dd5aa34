/*
 * Calls addresses of a node from a pod, and answers in the name of all other pods.
 *
 *   bench-calls connect SERVER-NETNS PORT CLIENT-NETNS ROUNDS COUNT ADDRESS:PORT...
 *   bench-calls answer SERVER-NETNS PORT CLIENT-NETNS ROUNDS COUNT ADDRESS:PORT...
 *   bench-calls name SERVER-NETNS PORT CLIENT-NETNS COUNT ADDRESS:PORT...
 *   bench-calls await SERVER-NETNS PORT CLIENT-NETNS NAME ADDRESS:PORT
 *
 * Listens on PORT in one network namespace, and from the other one connects to IPv4 targets.
 *
 * connect: how long TCP connections take to be set up. The targets take turns, COUNT connections each in every of
 *   ROUNDS. Prints a line for each target and round: ADDRESS:PORT MEDIAN P99, in nanoseconds. Both ends are one process
 *   and nobody is woken up: on veth pairs the whole handshake runs within connect(2), and no scheduler has a part in it.
 * answer: until an answer has come, which another process sends; for a proxy that accepts before it reaches an endpoint.
 * name: COUNT connections to each target. Prints a line for each: ADDRESS:PORT and the address that answered.
 * await: one connection after the other, until the address NAME answers; prints a line when another one has. Exit code
 *   1 after ten seconds.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Below the default of net.core.somaxconn, so that no SYN is refused. */
#define ACCEPT_EVERY 1000
#define CALL_TIMEOUT_SECONDS 5
#define AWAIT_SECONDS 10
#define AWAIT_PAUSE_MICROSECONDS 200

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

/* Whatever is called answers with the address that it was called by, and a newline. */
static void answer_all(int listener) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    char name[INET_ADDRSTRLEN + 1];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
        inet_ntop(AF_INET, &address.sin_addr, name, INET_ADDRSTRLEN) != NULL) {
      strcat(name, "\n");
      if (write(fd, name, strlen(name)) < 0) perror("answer");
    }
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

/* Returns the nanoseconds until the connection stands, or with `name` until the answer is there. */
static uint64_t call_once(const char *text, const struct sockaddr_in *target, char *name) {
  /* Reset at close: neither a port nor a tracked connection is kept waiting. */
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  struct timeval timeout = {.tv_sec = CALL_TIMEOUT_SECONDS};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  uint64_t begin = now();
  if (connect(fd, (const struct sockaddr *)target, sizeof *target) < 0) fail(text);
  if (name != NULL) {
    ssize_t size = read(fd, name, INET_ADDRSTRLEN);
    if (size <= 0) fail(text);
    name[size - 1] = 0;
  }
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

static void measure(int listener, int answered, int rounds, int count, char **targets) {
  char name[INET_ADDRSTRLEN + 1];
  uint64_t *times = calloc(count > 0 ? count : 1, sizeof *times);
  if (times == NULL) fail("memory");
  for (int round = 0; round < rounds; round += 1) {
    for (char **text = targets; *text != NULL; text += 1) {
      struct sockaddr_in target = parse_target(*text);
      for (int i = 0; i < count; i += 1) {
        times[i] = call_once(*text, &target, answered ? name : NULL);
        if (!answered && i % ACCEPT_EVERY == ACCEPT_EVERY - 1) accept_waiting(listener);
      }
      if (!answered) accept_waiting(listener);
      qsort(times, count, sizeof *times, ascending);
      printf("%s %llu %llu\n", *text, (unsigned long long)times[count / 2],
             (unsigned long long)times[count - 1 - count / 100]);
    }
  }
}

static void tell_names(int count, char **targets) {
  char name[INET_ADDRSTRLEN + 1];
  for (char **text = targets; *text != NULL; text += 1) {
    struct sockaddr_in target = parse_target(*text);
    for (int i = 0; i < count; i += 1) {
      call_once(*text, &target, name);
      printf("%s %s\n", *text, name);
    }
  }
}

static int await_name(const char *wanted, const char *text) {
  char name[INET_ADDRSTRLEN + 1];
  struct sockaddr_in target = parse_target(text);
  int begun = 0;
  uint64_t until = now() + AWAIT_SECONDS * 1000000000ull;
  while (now() < until) {
    call_once(text, &target, name);
    if (strcmp(name, wanted) == 0) return 0;
    if (!begun) puts("begun"), fflush(stdout), begun = 1;
    usleep(AWAIT_PAUSE_MICROSECONDS);
  }
  fprintf(stderr, "%s was not answered by %s\n", text, wanted);
  return 1;
}

static int usage(const char *program) {
  fprintf(stderr, "usage: %s connect|answer SERVER-NETNS PORT CLIENT-NETNS ROUNDS COUNT ADDRESS:PORT...\n"
                  "       %s name SERVER-NETNS PORT CLIENT-NETNS COUNT ADDRESS:PORT...\n"
                  "       %s await SERVER-NETNS PORT CLIENT-NETNS NAME ADDRESS:PORT\n", program, program, program);
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 7) return usage(argv[0]);
  int connecting = strcmp(argv[1], "connect") == 0;
  int exit_code = 0;
  enter(argv[2]);
  int listener = listen_on(atoi(argv[3]));
  if (connecting) fcntl(listener, F_SETFL, O_NONBLOCK);
  pid_t answering = connecting ? 0 : fork();
  if (!connecting && answering == 0) answer_all(listener);
  enter(argv[4]);
  if (connecting || strcmp(argv[1], "answer") == 0) measure(listener, !connecting, atoi(argv[5]), atoi(argv[6]), argv + 7);
  else if (strcmp(argv[1], "name") == 0) tell_names(atoi(argv[5]), argv + 6);
  else if (strcmp(argv[1], "await") == 0) exit_code = await_name(argv[5], argv[6]);
  else exit_code = usage(argv[0]);
  /* Waited for, so that the port is free for the next one. */
  if (answering > 0) {
    kill(answering, SIGKILL);
    waitpid(answering, NULL, 0);
  }
  return exit_code;
}
