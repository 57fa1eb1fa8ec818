"""Big integers, floats, text, compression and hashes; prints what came out."""
import hashlib
import json
import math
import re
import zlib
from decimal import Decimal, getcontext
from fractions import Fraction

print("factorial", hashlib.sha256(str(math.factorial(1000)).encode()).hexdigest())
print("power", hashlib.sha256(str(pow(3, 5000, 10**600 + 7)).encode()).hexdigest())
getcontext().prec = 200
print("decimal", Decimal(2).sqrt())
print("fraction", sum((Fraction(1, n) for n in range(1, 200)), Fraction(0)))
print("floats", [f"{f(0.7 + i):.17g}" for i, f in enumerate((math.sin, math.cos, math.exp, math.log, math.lgamma))])
print("hypot", [float.hex(math.hypot(i, i / 3)) for i in range(5)])

state, numbers = 1, []
for _ in range(50000):
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    numbers.append(state >> 33)
numbers.sort()
print("sorted", numbers[0], numbers[25000], numbers[-1])
text = json.dumps({str(n): [n, n / 7, chr(0x41 + n % 26) * 3] for n in numbers[:5000]}, sort_keys=True)
print("json", len(text), hashlib.sha256(text.encode()).hexdigest(), len(json.loads(text)))
print("regex", len(re.findall(r"(\d)(?=\d*\1)", text)))
packed = zlib.compress(text.encode(), 9)
print("zlib", len(packed), hashlib.md5(packed).hexdigest(), zlib.crc32(text.encode()), zlib.decompress(packed) == text.encode())
for name in sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}):
    print(name, hashlib.new(name, text.encode()).hexdigest())
