#!/bin/sh
# Turns the text on standard input into a C string with the name $1.
echo "static const char $1[] ="
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/'
echo ';'
