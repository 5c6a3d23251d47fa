// Package repotest holds the tests of the repository itself: who imports whom,
// package comments, links between documents. It has no code of its own.
package repotest
