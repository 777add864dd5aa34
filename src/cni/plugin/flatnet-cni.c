/*
 * The CNI plugin that a container runtime executes: a thin client of the node's agent. It sends its CNI_* environment
 * and its standard input to the agent's unix socket as one request and prints the reply.
 *
 * Framing, all numbers 32-bit big endian:
 *   request   "FCN1"  length of environment, NAME=VALUE\0...  length of standard input, standard input
 *   receipt   "FCN1", at once: an agent that hangs is told from one that has much to do
 *   reply     exit code, length, standard output
 *
 * The socket is that of the file system in which the plugin runs: nodes that share a machine do not meet here.
 */
#define _GNU_SOURCE /* struct ucred */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/flatnet/cni.sock"
#define MAGIC "FCN1"
/* A socket whose queue is full. */
#define CONNECT_TIMEOUT_MS 900
/* Without receipt by then: is the agent at work at all, and has it been for a while? */
#define FIRST_LOOK_MS 300
#define SECOND_LOOK_MS 500
/* An agent that is at work, but not on this. */
#define RECEIPT_TIMEOUT_MS 5000
/* Runtimes give a sandbox two minutes; give up before, so that the reason is ours and not theirs. */
#define REPLY_TIMEOUT_MS 60000
/* Keep in step with SUPPORTED_VERSIONS in ../protocol/version.ts (a test compares them). */
#define VERSION_REPLY                                                                                                  \
  "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"

extern char **environ;

struct buffer {
  char *data;
  size_t size, room;
};

/* CNI specification, section "Error": 11 is "try again later", and 50 is how STATUS says that ADD would fail. */
static int fail(const char *message, const char *detail) {
  const char *command = getenv("CNI_COMMAND");
  int code = command != NULL && strcmp(command, "STATUS") == 0 ? 50 : 11;
  printf("{\"cniVersion\":\"1.0.0\",\"code\":%d,\"msg\":\"flatnet: %s\",\"details\":\"%s; the agent of this node serves "
         "CNI requests: see that the flatnet agent runs here and is ready, the runtime then tries again by itself\"}\n",
         code, message, detail);
  fflush(stdout);
  return 1;
}

static void append(struct buffer *buffer, const void *data, size_t size) {
  if (size == 0) return;
  if (buffer->size + size > buffer->room) {
    buffer->room = (buffer->size + size) * 2 + 4096;
    buffer->data = realloc(buffer->data, buffer->room);
    if (buffer->data == NULL) exit(fail("out of memory", "malloc"));
  }
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
}

static void append_number(struct buffer *buffer, size_t number) {
  uint32_t value = htonl((uint32_t)number);
  append(buffer, &value, sizeof value);
}

static int read_all(int fd, struct buffer *buffer) {
  char chunk[16384];
  for (;;) {
    ssize_t got = read(fd, chunk, sizeof chunk);
    if (got == 0) return 0;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    append(buffer, chunk, (size_t)got);
  }
}

static int send_all(int fd, const struct buffer *buffer) {
  size_t sent = 0;
  while (sent < buffer->size) {
    ssize_t done = send(fd, buffer->data + sent, buffer->size - sent, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return -1;
    sent += (size_t)done;
  }
  return 0;
}

/* End of the JSON string that begins at `text` (its quote); NULL where it has none. */
static char *string_end(char *text) {
  for (char *at = text + 1; *at != '\0'; at++) {
    if (*at == '\\' && at[1] != '\0') at++;
    else if (*at == '"') return at;
  }
  return NULL;
}

/* Value of a member of the outermost object that is a string, as it is written; NULL where there is none. */
static const char *member(char *json, const char *name) {
  int depth = 0;
  for (char *at = json; *at != '\0'; at++) {
    if (*at == '{' || *at == '[') depth++;
    if (*at == '}' || *at == ']') depth--;
    if (*at != '"') continue;
    char *end = string_end(at);
    if (end == NULL) return NULL;
    char *value = end + 1 + strspn(end + 1, " \t\r\n");
    if (depth == 1 && *value == ':' && (size_t)(end - at - 1) == strlen(name) &&
        strncmp(at + 1, name, strlen(name)) == 0) {
      value += 1 + strspn(value + 1, " \t\r\n");
      char *value_end = *value == '"' ? string_end(value) : NULL;
      return value_end == NULL ? NULL : strndup(value + 1, (size_t)(value_end - value - 1));
    }
    at = end;
  }
  return NULL;
}

/*
 * FLATNET_CNI_SOCKET, else "socketPath" of the network configuration (the agent writes it unescaped), else the default.
 * Results that plugins hand on have members of that name too, further inside.
 */
static const char *socket_path(struct buffer *input) {
  const char *from_environment = getenv("FLATNET_CNI_SOCKET");
  if (from_environment != NULL && *from_environment != '\0') return from_environment;
  append(input, "", 1);
  input->size--;
  const char *configured = member(input->data, "socketPath");
  return configured == NULL ? DEFAULT_SOCKET : configured;
}

static void limit(int fd, int option, int milliseconds) {
  struct timeval timeout = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof timeout);
}

static int connect_agent(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  /* Counts for connect(2) as well: it waits while the queue of connections is full. */
  limit(fd, SO_SNDTIMEO, CONNECT_TIMEOUT_MS);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
  return fd;
}

/* What the kernel tells of a process: its state as ps has it, 0 where it cannot be told, and how often it has run. */
struct activity {
  char state;
  long runs;
};

static long number_behind(const char *text, const char *name) {
  const char *at = strstr(text, name);
  return at == NULL ? 0 : strtol(at + strlen(name), NULL, 10);
}

static struct activity activity_of(pid_t pid) {
  struct activity found = {0, 0};
  char path[64], text[8192];
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return found;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return found;
  text[size] = '\0';
  const char *state = strstr(text, "\nState:\t");
  if (state == NULL) return found;
  found.state = state[8];
  found.runs = number_behind(text, "\nvoluntary_ctxt_switches:") + number_behind(text, "\nnonvoluntary_ctxt_switches:");
  return found;
}

/* Who listens behind the socket; 0 where this process cannot see it. */
static pid_t agent_of(int fd) {
  struct ucred agent = {0};
  socklen_t size = sizeof agent;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &agent, &size) < 0 ? 0 : agent.pid;
}

/*
 * 1 when the agent has the whole request; 0 when it went away, -1 when it says nothing. An agent that has much to do
 * runs, or waits for a processor or the kernel; one that is stopped, or sleeps all the time with a request before it,
 * will not answer: the runtime had better know at once.
 */
static int await_receipt(int fd, const char **why) {
  const int wait_ms[] = {FIRST_LOOK_MS, SECOND_LOOK_MS, RECEIPT_TIMEOUT_MS - FIRST_LOOK_MS - SECOND_LOOK_MS};
  const pid_t agent = agent_of(fd);
  struct activity before = {0, 0};
  char receipt[sizeof MAGIC - 1];
  for (size_t look = 0; look < sizeof wait_ms / sizeof *wait_ms; look++) {
    limit(fd, SO_RCVTIMEO, wait_ms[look]);
    ssize_t got = recv(fd, receipt, sizeof receipt, MSG_WAITALL);
    if (got >= 0 || errno != EAGAIN) {
      limit(fd, SO_RCVTIMEO, REPLY_TIMEOUT_MS);
      return got == (ssize_t)sizeof receipt && memcmp(receipt, MAGIC, sizeof receipt) == 0;
    }
    struct activity now = activity_of(agent);
    *why = "its process is stopped (SIGSTOP)";
    if (now.state == 'T') return -1;
    *why = "its process sleeps and takes no requests";
    if (look == 1 && now.state == 'S' && before.state == 'S' && now.runs == before.runs) return -1;
    before = now;
  }
  *why = "it has taken no request for seconds";
  return -1;
}

int main(void) {
  const char *command = getenv("CNI_COMMAND");
  if (command != NULL && strcmp(command, "VERSION") == 0) {
    fputs(VERSION_REPLY, stdout);
    return 0;
  }
  struct buffer environment = {0}, input = {0}, request = {0}, reply = {0};
  for (char **entry = environ; *entry != NULL; entry++) {
    if (strncmp(*entry, "CNI_", 4) == 0) append(&environment, *entry, strlen(*entry) + 1);
  }
  if (read_all(STDIN_FILENO, &input) < 0) return fail("cannot read standard input", strerror(errno));
  const char *path = socket_path(&input);
  append(&request, MAGIC, sizeof MAGIC - 1);
  append_number(&request, environment.size);
  append(&request, environment.data, environment.size);
  append_number(&request, input.size);
  append(&request, input.data, input.size);

  int fd = connect_agent(path);
  if (fd < 0) return fail("the agent does not answer on its socket", strerror(errno));
  if (send_all(fd, &request) < 0) return fail("the agent closed the connection", strerror(errno));
  const char *why = "";
  int received = await_receipt(fd, &why);
  if (received < 0) return fail("the agent hangs", why);
  if (received == 0) return fail("the agent closed the connection", "it stopped");
  if (read_all(fd, &reply) < 0) return fail("the agent did not reply in time", strerror(errno));
  uint32_t header[2];
  if (reply.size < sizeof header) return fail("the agent stopped while it worked on the request", "no reply");
  memcpy(header, reply.data, sizeof header);
  if (reply.size != sizeof header + ntohl(header[1])) return fail("the agent's reply was cut off", "it stopped");
  fwrite(reply.data + sizeof header, 1, ntohl(header[1]), stdout);
  fflush(stdout);
  return (int)ntohl(header[0]);
}
