"""A small hub for models_pull_test.cc: serves a folder of repositories with byte ranges.

usage: hub_server.py FOLDER PORT_FILE LOG. Repositories are FOLDER/<owner>/<name>/. A file called <name>.cut<N>
in a repository makes the first request for <name> break off after N bytes; no-ranges in FOLDER turns ranges off;
<name>.lie makes the list give a wrong checksum for <name>. Without resolve/main a path is a plain file of a server
that gives no lists.
"""
import hashlib, http.server, json, os, re, sys

folder, port_file, log = sys.argv[1:4]


def describe(path, name):
    data = open(path, "rb").read()
    entry = {"type": "file", "path": name, "size": len(data)}
    lie = os.path.exists(path + ".lie")
    if name.endswith(".safetensors"):
        sha = "0" * 64 if lie else hashlib.sha256(data).hexdigest()
        entry["oid"] = "1" * 40
        entry["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
    else:
        blob = b"blob %d\0" % len(data) + data
        entry["oid"] = "0" * 40 if lie else hashlib.sha1(blob).hexdigest()
    return entry


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=(), cut=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def do_GET(self):
        with open(log, "a") as lines:
            lines.write(f"{self.path} {self.headers.get('Range', '')}\n")
        listing = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/main", self.path)
        if listing:
            repository = os.path.join(folder, listing[1])
            if not os.path.isdir(repository):
                return self.answer(404, b"{}")
            names = [n for n in sorted(os.listdir(repository)) if not re.search(r"\.(cut\d+|lie)$", n)]
            return self.answer(200, json.dumps([describe(os.path.join(repository, n), n) for n in names]).encode())
        wanted = re.fullmatch(r"/([\w.-]+/[\w.-]+)/(?:resolve/main/)?([\w.-]+)", self.path)
        path = wanted and os.path.join(folder, wanted[1], wanted[2])
        if not path or not os.path.isfile(path):
            return self.answer(404, b"none")
        data = open(path, "rb").read()
        cut = None
        for name in os.listdir(os.path.dirname(path)):
            match = re.fullmatch(re.escape(os.path.basename(path)) + r"\.cut(\d+)", name)
            if match:
                os.remove(os.path.join(os.path.dirname(path), name))
                cut = int(match[1])
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and not os.path.exists(os.path.join(folder, "no-ranges")):
            first = int(span[1])
            if first >= len(data):
                return self.answer(416, b"", [("Content-Range", f"bytes */{len(data)}")])
            header = ("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            return self.answer(206, data[first:], [header], cut)
        self.answer(200, data, (), cut)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # clients that hang up


server = Server(("127.0.0.1", 0), Handler)
with open(port_file + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(port_file + ".new", port_file)
server.serve_forever()
