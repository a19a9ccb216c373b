// The sessions program is a web app whose sessions are kept by a library of a
// third party, github.com/alexedwards/scs, in the mode in which they end when
// nobody uses them. It answers loopback only, and its log tells who used which
// session when.
package main
