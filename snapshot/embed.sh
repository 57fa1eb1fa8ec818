#!/bin/sh
# Turns the text on standard input into one C string literal.
exec sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/'
