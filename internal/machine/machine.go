// Package machine is what the process asks of the system it runs on: how many
// cores it may use and which, how much memory it may take and how much of it
// may be locked, and pages that it no longer needs.
//
// What enters are settings and what the system says of its limits; what leaves
// are numbers, regions of memory and sentences for the operator. It imports no
// other package of this module, and what it cannot do on a system it says.
package machine
