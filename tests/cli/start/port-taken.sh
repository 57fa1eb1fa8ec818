# a port that somebody has is an error of start, not of the guest
. "$LIB"
made web
python3 -c '
import socket, subprocess, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
port = s.getsockname()[1]
subprocess.run(["vmtest", "-q", "set", "--forward", f"{port}:22", "web"], check=True)
done = subprocess.run(["vmtest", "start", "--no-wait", "web"], stderr=subprocess.PIPE, text=True)
print(done.returncode, str(port) in done.stderr)
'
vmtest list
