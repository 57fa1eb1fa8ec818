/* The names of the CPU models that there are, for whoever takes one from a user; vmcore/cpuid.c has what each is. */
#ifndef VT_CPUMODEL_H
#define VT_CPUMODEL_H

#define CPU_X86_64_V2   "x86-64-v2" /* the default */
#define CPU_X86_64_V3   "x86-64-v3"
#define CPU_HOST        "host"
#define CPU_X86_64      "x86-64"
#define CPU_PENTIUM3    "pentium3"
#define CPU_PENTIUM     "pentium"
#define CPU_I486        "i486"
#define CPU_MODEL_NAMES CPU_X86_64_V2, CPU_X86_64_V3, CPU_HOST, CPU_X86_64, CPU_PENTIUM3, CPU_PENTIUM, CPU_I486

#endif
