exec python3 -B work.py
