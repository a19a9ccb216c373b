// Package provider holds what is common to talking to authorization servers:
// reading a token out of a reply however broken that is, and sorting replies
// into the classes that the rest of the program acts on.
//
// Nothing here sends anything; package wire does, and packages oauth2 and
// httpflow say what.
package provider
