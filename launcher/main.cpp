#include "launcher/program.h"

int main(int argc, char** argv) { return trireme::run_program(argc, argv); }
