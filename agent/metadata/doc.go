// Package metadata is what reading a cloud's metadata service takes on every
// cloud: a [Transport] that closes what net/http leaves open for a poller, a
// [Client] that asks one question and either has the answer or says in a
// [ReadError] why not, a table of [Hint] rows that name the likely cause, and
// the [Trust] that it takes to believe a 404.
//
// It never goes through a proxy, never follows a redirect, never retries by
// itself, never reads more than 64 KiB, and takes nothing from the environment.
// It keeps one connection where the server lets it.
//
// What is asked where, and what the answers mean, is the business of the
// packages of the clouds; pacing and deadlines are package agent's.
package metadata
