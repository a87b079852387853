# The GPU plug-in's tools: nvcc of CUDA 12 or newer, cuDNN 9, cuBLASLt, NCCL 2.18 or newer; in the usual places, and in
# the nvidia/ folders that NVIDIA's Python packages install. FLYWHEEL_CUDA: AUTO builds the plug-in where all are there
# and says what is missing where not; ON makes that an error; OFF does not look. Nothing else depends on CUDA.
# Sets FLYWHEEL_HAVE_CUDA and the target fw_cuda_libraries.
set(FLYWHEEL_CUDA AUTO CACHE STRING "Build the GPU plug-in: AUTO, ON or OFF")
set_property(CACHE FLYWHEEL_CUDA PROPERTY STRINGS AUTO ON OFF)
set(FLYWHEEL_HAVE_CUDA OFF)

function(flywheel_cuda_missing what)
  if(FLYWHEEL_CUDA STREQUAL "ON")
    message(FATAL_ERROR "GPU plug-in: ${what}")
  endif()
  message(STATUS "GPU plug-in: not built: ${what}")
endfunction()

# A header's "#define NAME 12" as a number.
function(flywheel_define out header name)
  set(${out} 0 PARENT_SCOPE)
  if(EXISTS ${header})
    file(STRINGS ${header} line REGEX "^#define ${name} +[0-9]+" LIMIT_COUNT 1)
    if(line)
      string(REGEX REPLACE "^#define ${name} +([0-9]+).*" "\\1" line "${line}")
      set(${out} "${line}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

# Folders nvidia/* of the Python installation that the PATH names first.
function(flywheel_python_folders out)
  find_program(FLYWHEEL_PYTHON NAMES python3)
  mark_as_advanced(FLYWHEEL_PYTHON)
  set(${out} "" PARENT_SCOPE)
  if(FLYWHEEL_PYTHON)
    execute_process(COMMAND ${FLYWHEEL_PYTHON} -c "import site, sysconfig
print(';'.join({sysconfig.get_path('purelib'), *site.getsitepackages(), site.getusersitepackages()}))"
      OUTPUT_VARIABLE places OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    set(found "")
    foreach(place ${places})
      file(GLOB folders LIST_DIRECTORIES true ${place}/nvidia/*)
      list(APPEND found ${folders})
    endforeach()
    set(${out} "${found}" PARENT_SCOPE)
  endif()
endfunction()

# A library by any of its names, a wheel's "lib<name>.so.<major>" among them; by whichever in the first folder that has it,
# where its header is, too.
macro(flywheel_cuda_library variable name major)
  find_library(${variable} NAMES ${name} lib${name}.so.${major} NAMES_PER_DIR HINTS ${cuda_hints}
    PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu targets/x86_64-linux/lib)
  mark_as_advanced(${variable})
endmacro()

# A macro: enable_language wants the scope of the project.
macro(flywheel_find_cuda)
  flywheel_python_folders(python_folders)
  set(cuda_hints $ENV{CUDA_HOME} $ENV{CUDA_PATH} $ENV{CUDNN_HOME} $ENV{NCCL_HOME} /usr/local/cuda ${python_folders})
  set(cuda_missing "")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(CMAKE_CUDA_COMPILER NAMES nvcc HINTS ENV CUDACXX ${cuda_hints} PATH_SUFFIXES bin)
  endif()
  find_path(CUDNN_INCLUDE_DIR cudnn_version.h HINTS ${cuda_hints} PATH_SUFFIXES include)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${cuda_hints} PATH_SUFFIXES include)
  find_path(CUBLASLT_INCLUDE_DIR cublasLt.h HINTS ${cuda_hints} PATH_SUFFIXES include)
  find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h HINTS ${cuda_hints} PATH_SUFFIXES include)
  mark_as_advanced(CUDNN_INCLUDE_DIR NCCL_INCLUDE_DIR CUBLASLT_INCLUDE_DIR CUDART_INCLUDE_DIR)
  flywheel_define(cuda_number "${CUDART_INCLUDE_DIR}/cuda_runtime_api.h" CUDART_VERSION)
  math(EXPR cuda_major "${cuda_number} / 1000")
  math(EXPR cuda_minor "${cuda_number} % 1000 / 10")
  flywheel_cuda_library(CUDNN_LIBRARY cudnn 9)
  flywheel_cuda_library(NCCL_LIBRARY nccl 2)
  flywheel_cuda_library(CUBLASLT_LIBRARY cublasLt ${cuda_major})
  flywheel_cuda_library(CUDART_LIBRARY cudart_static ${cuda_major})
  flywheel_define(cudnn_major "${CUDNN_INCLUDE_DIR}/cudnn_version.h" CUDNN_MAJOR)
  flywheel_define(cudnn_minor "${CUDNN_INCLUDE_DIR}/cudnn_version.h" CUDNN_MINOR)
  if(cudnn_major EQUAL 0) # it only includes the real one
    flywheel_define(cudnn_major "${CUDNN_INCLUDE_DIR}/cudnn_version_v9.h" CUDNN_MAJOR)
    flywheel_define(cudnn_minor "${CUDNN_INCLUDE_DIR}/cudnn_version_v9.h" CUDNN_MINOR)
  endif()
  flywheel_define(nccl_major "${NCCL_INCLUDE_DIR}/nccl.h" NCCL_MAJOR)
  flywheel_define(nccl_minor "${NCCL_INCLUDE_DIR}/nccl.h" NCCL_MINOR)

  if(NOT CMAKE_CUDA_COMPILER)
    set(cuda_missing "no nvcc (CUDA 12 or newer; set CUDACXX or CUDA_HOME)")
  elseif(cuda_number LESS 12000 OR NOT CUDART_LIBRARY)
    set(cuda_missing "CUDA ${cuda_major}.${cuda_minor} with ${CUDART_LIBRARY} (CUDA 12 or newer with libcudart_static is needed)")
  elseif(NOT CUDNN_LIBRARY OR NOT cudnn_major EQUAL 9)
    set(cuda_missing "no cuDNN 9 (found: ${CUDNN_LIBRARY} ${cudnn_major}.${cudnn_minor}; set CUDNN_HOME)")
  elseif(NOT CUBLASLT_LIBRARY OR NOT CUBLASLT_INCLUDE_DIR)
    set(cuda_missing "no cuBLASLt (a part of CUDA: libcublas-dev, or the wheel nvidia-cublas)")
  elseif(NOT NCCL_LIBRARY OR nccl_major LESS 2 OR (nccl_major EQUAL 2 AND nccl_minor LESS 18))
    set(cuda_missing "no NCCL 2.18 or newer (found: ${NCCL_LIBRARY} ${nccl_major}.${nccl_minor}; set NCCL_HOME)")
  endif()
  if(cuda_missing)
    flywheel_cuda_missing("${cuda_missing}")
  else()
    # Before the language is enabled: afterwards it holds nvcc's default. 90 also embeds PTX for what comes.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "GPUs to compile for")
    endif()
    enable_language(CUDA)
    set(FLYWHEEL_HAVE_CUDA ON)
    add_library(fw_cuda_libraries INTERFACE)
    target_include_directories(fw_cuda_libraries SYSTEM INTERFACE
      ${CUDART_INCLUDE_DIR} ${CUDNN_INCLUDE_DIR} ${CUBLASLT_INCLUDE_DIR} ${NCCL_INCLUDE_DIR})
    target_link_libraries(fw_cuda_libraries INTERFACE ${CUDNN_LIBRARY} ${CUBLASLT_LIBRARY} ${CUDART_LIBRARY} dl rt)
    target_compile_definitions(fw_cuda_libraries INTERFACE
      NN_CUDA_VERSION="${cuda_major}.${cuda_minor}" NN_CUDNN_VERSION="${cudnn_major}.${cudnn_minor}")
    message(STATUS "GPU plug-in: CUDA ${cuda_major}.${cuda_minor}, cuDNN ${cudnn_major}.${cudnn_minor}, "
      "NCCL ${nccl_major}.${nccl_minor}, for ${CMAKE_CUDA_ARCHITECTURES}")
  endif()
endmacro()

# Sanitizers watch the host's code, all of which is tested without the plug-in.
if(NOT FLYWHEEL_CUDA STREQUAL "OFF" AND NOT FLYWHEEL_SANITIZE)
  flywheel_find_cuda()
endif()
