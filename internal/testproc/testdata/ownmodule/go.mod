module example.test/ownmodule

go 1.26.0
