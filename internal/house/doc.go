// Package house holds no code, only tests of the way this module is built:
// which package may import which, and that each one says what it is for. The
// table is in rules_test.go; .golangci.yaml has the same rules for editors and
// `make lint`, and a test here keeps the two alike.
package house
