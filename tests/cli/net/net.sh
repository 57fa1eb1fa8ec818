. "$LIB"
vmtest net list
vmtest net create lab
status vmtest net create lab
status vmtest net create 'a b'
status vmtest net create
status vmtest net list lab
status vmtest net destroy lab
status vmtest net rm absent
vmtest -q net create other
echo spin | guest kernel
status vmtest create --kernel kernel --net private:nowhere web
status vmtest create --kernel kernel --net bridge web
status vmtest create --kernel kernel --net private:.. web
status vmtest create --kernel kernel --net none --net nat web
status vmtest create --kernel kernel --net private:lab --forward 8080:80 web
vmtest -q create --kernel kernel --mem 16M --net nat --net private:lab web
vmtest -q create --kernel kernel --mem 16M --net private:lab --nic ne2k_pci db
vmtest -q create --kernel kernel --mem 16M --net none alone
vmtest info web | grep network
vmtest info db | grep network
vmtest info alone | grep -c network
vmtest net list
vmtest --json net list
status vmtest net rm lab
vmtest -q start --no-wait web
vmtest -q start --no-wait db
status vmtest set --net nat db
vmtest -q stop --force db
vmtest set --net nat db
status vmtest set --net none web
vmtest info db | grep network
vmtest -q stop --force web
vmtest set --net none web
status vmtest set --net private:absent web
vmtest net rm lab
vmtest net list
